"""Detectron.pytorch's script of this name, with its flags: `python tools/infer_simple.py --help`."""

import sys

from boxwright.compat.detectron_pytorch.flags import run_script
from boxwright.compat.detectron_pytorch.infer_simple import main

if __name__ == "__main__":
    sys.exit(run_script(main, sys.argv[1:]))
