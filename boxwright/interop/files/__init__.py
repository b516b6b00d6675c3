"""From bytes to data: pickles, torch files, safetensors, zip and tar, read without running anything."""
