"""Config files as data: Python is walked as a syntax tree, YAML is bounded, bases are found."""
