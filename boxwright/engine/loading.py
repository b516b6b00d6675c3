"""From a name or a file to a detector: presets, our own files, the configs and checkpoints of every known source."""
