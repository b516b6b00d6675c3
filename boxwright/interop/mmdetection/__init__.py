"""mmdetection 2 and 3: its Python, JSON and YAML configs, its names of weights."""
