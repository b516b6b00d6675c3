"""`boxwright bench`: how fast a model runs here, and how far from the limit of the machine."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from boxwright.cli import precision as precision_of
from boxwright.cli.console import print_json, print_table

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector
    from boxwright.engine.speed import Speed

app = typer.Typer(add_completion=False)


RecordedOption = Annotated[
    bool, typer.Option("--recorded", help="Play recordings of whole runs (CUDA graphs) on a GPU.")
]
BenchPrecisionOption = Annotated[
    Literal["fp32", "bf16", "fp16", "int8"], typer.Option(help="What convolutions compute in.")
]


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A preset, a config, a checkpoint or a published model.")],
    size: Annotated[str, typer.Option(help="Height and width of the pictures.")] = "800x1199",
    batch: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 1,
    precision: BenchPrecisionOption = "fp32",
    training: Annotated[bool, typer.Option("--train", help="Measure steps of training.")] = False,
    recorded: RecordedOption = False,
    rounds: Annotated[int, typer.Option(min=1, help="Calls whose median is taken, after two that warm up.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time detection, or training, of a model with pictures in memory.

    The floor is the time that its convolutions and matrix products alone would take at the best rate of a convolution
    on this machine; that of int8 is the one of bf16. Without weights a model finds little, so give a checkpoint to have
    masks and keypoints counted.

    Example:

      boxwright bench mask_rcnn_r18_fpn_gn --size 320x320 --rounds 3
    """
    if precision == "int8" and training:
        raise typer.BadParameter("int8 detects and does not train; take bf16", param_hint="--precision")
    if recorded and training:
        raise typer.BadParameter("runs of detection are recorded, and no training", param_hint="--recorded")
    from boxwright.engine.speed import measure_detection, measure_training

    pixels = _size(size)
    detector = _detector(model, device, precision, pixels, is_recorded=recorded)
    measure = measure_training if training else measure_detection
    found = measure(detector, size=pixels, batch=batch, rounds=rounds)
    task = "training step" if training else "detection"
    asked = {"model": model, "task": task, "size": size, "batch": batch, "precision": precision}
    figures = asked | _figures(found, detector)
    if as_json:
        print_json(figures)
    else:
        print_table(f"{model}, {task}", [(name.replace("_", " "), value) for name, value in figures.items()])


def _detector(model: str, device: str, precision: str, size: tuple[int, int], *, is_recorded: bool) -> "Detector":
    from boxwright.engine.loading import load
    from boxwright.engine.speed import make_pictures

    detector = load(model, device=device, precision=precision_of.to_load(precision))
    precision_of.calibrate(detector, precision, make_pictures(size, 1))
    if is_recorded:
        detector.record()
    return detector


def _figures(found: "Speed", detector: "Detector") -> dict[str, Any]:
    import torch

    return {
        "device": str(detector.device),
        "threads": torch.get_num_threads(),
        "seconds": round(found.seconds, 4),
        "images_per_second": round(found.images / found.seconds, 3),
        "gigaflop": round(found.operations / 1e9, 1),
        "floor_seconds": round(found.floor_seconds, 4),
        "times_floor": round(found.times_floor, 2),
    }


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise typer.BadParameter(f"{text!r} is no size; give height and width as 800x1199", param_hint="--size")
    return int(height), int(width)
