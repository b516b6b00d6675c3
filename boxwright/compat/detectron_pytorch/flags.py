"""What Detectron.pytorch's scripts share: their flags, their data sets' names, their settings."""

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from boxwright.config import Config
from boxwright.errors import BoxwrightError, ConfigError
from boxwright.interop.detectron.config import read_detectron
from boxwright.interop.tables.coco_names import with_coco_names
from boxwright.interop.texts.config_files import read_text
from boxwright.interop.texts.json_values import parse_settings

# The scripts' names -> those of the parts for training and test, and the classes with the background.
DATASETS = {
    "coco2017": ("coco_2017_train", "coco_2017_val", 81),
    "keypoints_coco2017": ("keypoints_coco_2017_train", "keypoints_coco_2017_val", 2),
}


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """--cfg, --set, --load_ckpt and --load_detectron, for `read_settings` and `one_checkpoint`."""
    parser.add_argument("--cfg", dest="cfg_file", required=True, help="config file, of Detectron.pytorch or Detectron")
    parser.add_argument(
        "--set", dest="set_cfgs", nargs="*", default=[], metavar="KEY VALUE", help="settings to change, in pairs"
    )
    parser.add_argument("--load_ckpt", help="checkpoint to load, of any known source")
    parser.add_argument("--load_detectron", help="Detectron's weights to load (a .pkl)")


def one_checkpoint(flags: argparse.Namespace) -> str:
    """Exactly one of the two kinds must be given."""
    if bool(flags.load_ckpt) == bool(flags.load_detectron):
        raise ConfigError("give exactly one of --load_ckpt and --load_detectron")
    return str(flags.load_ckpt or flags.load_detectron)


def read_settings(flags: argparse.Namespace) -> Config:
    """The config file with the changes of --set and --dataset, as our settings."""
    content = parse_settings(read_text(Path(flags.cfg_file)), source=flags.cfg_file)
    overrides = [f"{name}={value}" for name, value in _pairs(flags.set_cfgs)]
    if flags.dataset in DATASETS:
        train, val, classes = DATASETS[flags.dataset]
        overrides += [f"TRAIN.DATASETS=('{train}',)", f"TEST.DATASETS=('{val}',)", f"MODEL.NUM_CLASSES={classes}"]
    return with_coco_names(read_detectron(content, source=flags.cfg_file, overrides=overrides)[0])


def run_script(main: Callable[[Sequence[str]], None], arguments: Sequence[str]) -> int:
    """0, or 1 with one line on standard error."""
    try:
        main(arguments)
    except BoxwrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    if len(words) % 2:
        raise ConfigError(f"--set has {len(words)} words; expected pairs of a name and a value")
    return [pair for index, pair in enumerate(pairwise(words)) if index % 2 == 0]
