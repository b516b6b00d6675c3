"""Detectron.pytorch's script of this name, with its flags: `python tools/train_net_step.py --help`."""

import sys

from boxwright.compat.detectron_pytorch.flags import run_script
from boxwright.compat.detectron_pytorch.train_net_step import main

if __name__ == "__main__":
    sys.exit(run_script(main, sys.argv[1:]))
