"""Checkpoints of any source into ours, and back into files that Detectron2 and torchvision open."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boxwright.config import Config, dump
from boxwright.engine.loading import detector_of
from boxwright.interop.detectron2.weights import to_detectron2
from boxwright.interop.files.safetensors_file import write_safetensors
from boxwright.interop.tables.background import UNREAD
from boxwright.interop.torchvision.weights import to_torchvision
from boxwright.interop.weights import Weights, read_weights, with_channels_swapped
from boxwright.interop.write import write_pickle, write_torch

Program = Literal["boxwright", "detectron2", "torchvision"]


@dataclass(frozen=True)
class ConvertedWeights:
    """What was written: weights of the program `source` for `program`, with notes that a reader should know."""

    source: str
    program: Program
    num_weights: int
    notes: tuple[str, ...] = ()


def convert_weights(
    source: str | Path,
    target: str | Path,
    *,
    to: Program = "boxwright",
    config: str | Path | Config | None = None,
    swap_channels: bool = False,
) -> ConvertedWeights:
    """Reads a checkpoint of any source and writes it for `to`.

    Our own file is complete: `config`, or the settings inside the checkpoint, and the class names go into it, and the
    weights must fit them. The other two hold weights alone. `swap_channels` turns the first convolution from BGR to
    RGB, or back.
    """
    weights = read_weights(source)
    if swap_channels:
        weights = with_channels_swapped(weights)
    match to:
        case "boxwright":
            return _write_ours(weights, target, config=config, where=str(source))
        case "detectron2":
            state: dict[str, Any] = dict(to_detectron2(weights.state))
            _write_detectron2(state, Path(target))
        case "torchvision":
            state = dict(to_torchvision(weights.state))
            write_torch(target, state)
    return ConvertedWeights(weights.source, to, len(state), _notes(weights, to))


def _write_ours(
    weights: Weights, target: str | Path, *, config: str | Path | Config | None, where: str
) -> ConvertedWeights:
    detector = detector_of(weights, config=config, where=where)
    unread = {name: value for name, value in weights.state.items() if name.startswith(UNREAD)}
    state = detector.model.state_dict() | unread
    write_safetensors(target, state, config=dump(detector.config), class_names=list(detector.class_names))
    return ConvertedWeights(weights.source, "boxwright", len(state))


def _write_detectron2(state: dict[str, Any], target: Path) -> None:
    """A name that ends in .pth becomes a file of torch, any other one a pickle of arrays."""
    if target.suffix in (".pth", ".pt"):
        write_torch(target, {"model": state})
    else:
        write_pickle(target, {"model": state, "__author__": "Boxwright"})


def _notes(weights: Weights, to: Program) -> tuple[str, ...]:
    original = {"detectron2": "Detectron2", "torchvision": "torchvision"}.get(to, "")
    if weights.source in (original, "Boxwright"):
        return ()
    return (
        f"these are weights of {weights.source}: {original} will run them by its own conventions (pixels, boxes, "
        "anchors), and its numbers will differ",
    )
