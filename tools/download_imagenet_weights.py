"""Detectron.pytorch's script of this name, with its flags: `python tools/download_imagenet_weights.py --help`."""

import sys

from boxwright.compat.detectron_pytorch.download_imagenet_weights import main
from boxwright.compat.detectron_pytorch.flags import run_script

if __name__ == "__main__":
    sys.exit(run_script(main, sys.argv[1:]))
