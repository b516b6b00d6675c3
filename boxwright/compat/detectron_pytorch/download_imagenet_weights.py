"""ImageNet weights under the names that Detectron.pytorch's configs look for, with the flags of its script."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from boxwright.files import atomic_write
from boxwright.interop.download import fetch_model
from boxwright.interop.zoo.models import find_model
from boxwright.outputs import writing

# A file of the original -> the published model with the same numbers.
TARGETS = {
    "resnet50_caffe.pth": "open-mmlab/detectron/resnet50_caffe",
    "resnet101_caffe.pth": "open-mmlab/detectron/resnet101_caffe",
    "vgg16_caffe.pth": "open-mmlab/vgg16_caffe",
    "R-50.pkl": "detectron/ImageNetPretrained/MSRA/R-50",
    "R-101.pkl": "detectron/ImageNetPretrained/MSRA/R-101",
    "R-50-GN.pkl": "detectron/ImageNetPretrained/FAIR/R-50-GN",
    "R-101-GN.pkl": "detectron/ImageNetPretrained/FAIR/R-101-GN",
    "X-101-32x8d.pkl": "detectron/ImageNetPretrained/FAIR/X-101-32x8d",
    "X-101-64x4d.pkl": "detectron/ImageNetPretrained/FAIR/X-101-64x4d",
    "X-152-32x8d-IN5k.pkl": "detectron/ImageNetPretrained/FAIR/X-152-32x8d-IN5k",
}
DEFAULT = ("resnet50_caffe.pth", "resnet101_caffe.pth", "vgg16_caffe.pth")


def main(arguments: Sequence[str]) -> None:
    """Fetches each of --targets into --output_dir, and prints where it lies."""
    flags = _parse(arguments)
    with writing(*(flags.output_dir / target for target in flags.targets)):
        for target in flags.targets:
            source = fetch_model(find_model(TARGETS[target]))
            with atomic_write(flags.output_dir / target) as file, open(source, "rb") as content:
                shutil.copyfileobj(content, file)
            print(flags.output_dir / target, flush=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="download_imagenet_weights", description="Fetch weights to start from.")
    parser.add_argument("--output_dir", type=Path, default=Path("data/pretrained_model"), help="where the files go")
    parser.add_argument(
        *("-t", "--targets"),
        nargs="+",
        choices=list(TARGETS),
        default=list(DEFAULT),
        metavar="NAME",
        help=f"of {', '.join(TARGETS)}",
    )
    return parser.parse_args(arguments)
