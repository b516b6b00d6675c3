"""--precision of the verbs that detect: int8 is a model of fp32 whose layers compute on bytes after a calibration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from boxwright.cli.console import print_note

if TYPE_CHECKING:
    from boxwright.data.image import ImageSource
    from boxwright.engine.detector import Detector, Precision

HELP = "fp32, bf16, fp16, or int8 on CPUs, calibrated on the first images."
MOST_CALIBRATED_ON = 16


def to_load(precision: str) -> "Precision":
    """What the model is loaded in."""
    return cast("Precision", "fp32" if precision == "int8" else precision)


def calibrate(detector: "Detector", precision: str, images: "Sequence[ImageSource]") -> None:
    """Nothing, unless `precision` is int8."""
    if precision == "int8":
        chosen = images[:MOST_CALIBRATED_ON]
        print_note(f"int8: {detector.quantise(chosen)} layers, calibrated on {len(chosen)} images")
