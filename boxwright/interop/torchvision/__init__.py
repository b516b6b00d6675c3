"""torchvision: its builders' arguments, its names of weights."""
