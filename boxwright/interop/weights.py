"""Any checkpoint into a model: the container is read as data, the dialect guessed from the names, the rest reported."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from boxwright.errors import UnsafeFileError, WeightsError
from boxwright.interop.classifiers.efficientnet import from_efficientnet, is_efficientnet
from boxwright.interop.classifiers.imagenet import from_imagenet
from boxwright.interop.detectron.pytorch_weights import from_detectron_pytorch, is_detectron_pytorch
from boxwright.interop.detectron.weights import from_detectron, is_detectron
from boxwright.interop.detectron2.weights import from_detectron2, is_detectron2
from boxwright.interop.files.read import read_file
from boxwright.interop.mmdetection.weights import from_mmdetection, is_mmdetection
from boxwright.interop.tables.background import UNREAD
from boxwright.interop.tables.rename import State
from boxwright.interop.torchvision.weights import from_torchvision, is_torchvision

_STATE_KEYS = ("model", "state_dict", "blobs", "model_state_dict", "model_state", "weights")
_OURS = ("backbone.stem.weight", "backbone.c2.0.conv1.weight", "neck.lateral.c5.weight", "rpn.head.score.weight")
_FORMER_RPN = re.compile(r"^rpn\.(convs|score|delta)\.")  # before the head was a module of its own
_FIRST_CONVOLUTIONS = ("backbone.stem.weight", "backbone.c1.conv1.weight")
_CONSTANTS = (".upsample.weight", ".upsample.bias")  # fixed kernels, which few sources save
_MOST_WEIGHTS = 5_000  # the largest models of all sources have some 1,500
_LONGEST_NAME = 500  # characters of a weight's or a class's name
_MOST_PREFIXES = 4  # wrappers around wrappers
_SHARED = 32 * 2**20  # bytes that weights which share memory may come to when each has its own
_SHARES = 8  # and so many times the file


@dataclass(frozen=True)
class Weights:
    """A checkpoint under our names; `class_names` and `config_text` are those that the file holds beside them."""

    state: State
    source: str
    class_names: tuple[str, ...] = ()
    config_text: str | None = None


@dataclass(frozen=True)
class WeightsReport:
    """What became of each weight of a file. `mismatched` holds (name, shape in the file, shape in the model)."""

    source: str
    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.loaded)} weights loaded"]
        lines += [f"  {len(names)} {what}: {_some(names)}" for what, names in self._gaps() if names]
        return "\n".join(lines)

    def _gaps(self) -> list[tuple[str, list[str]]]:
        shapes = [f"{name} is {theirs} in the file, {ours} in the model" for name, theirs, ours in self.mismatched]
        return [
            ("not in the file, left as initialised", self.missing),
            ("not in the model, ignored", self.unexpected),
            ("of another shape, left as initialised", shapes),
        ]


def read_weights(path: str | Path) -> Weights:
    """A checkpoint of any known source, under our names."""
    contents = read_file(path)
    try:
        state = _plain_state(_find_state(contents.data, str(path)), contents.size, str(path))
        source, renamed = to_our_names(state, where=str(path))
        names, config_text = _told_by(contents.data, contents.metadata)
    except WeightsError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]  # torch's, about weights of shapes that no model has
        raise WeightsError(f"{path}: its weights are unlike those of any known source ({reason})") from error
    return Weights(renamed, source, names, config_text)


def to_our_names(state: Mapping[str, Tensor], *, where: str) -> tuple[str, State]:
    """The source of a state dict, recognised by its names, and its weights under ours."""
    state = _without_prefix(state)
    try:
        if any(key in state for key in _OURS):
            return "Boxwright", {_FORMER_RPN.sub(r"rpn.head.\1.", key): value for key, value in state.items()}
        if is_detectron_pytorch(state):
            return "Detectron.pytorch", from_detectron_pytorch(state)
        if is_detectron(state):
            return "Detectron", from_detectron(state)
        if is_torchvision(state):
            return "torchvision", from_torchvision(state)
        if is_mmdetection(state):
            return "mmdetection", from_mmdetection(state)
        if is_detectron2(state):
            return "Detectron2", from_detectron2(state)
        if is_efficientnet(state):
            return "EfficientNet", from_efficientnet(state)
        if "stem.conv1.weight" in state:
            return "Detectron2 ResNet", from_detectron2({f"backbone.{key}": value for key, value in state.items()})
        if (backbone := from_imagenet(state)) is not None:
            return "ImageNet", backbone
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from error
    some = ", ".join(list(state)[:3])
    raise WeightsError(f"{where}: not a checkpoint of a known source; its first weights are {some or 'none at all'}")


def load_state(model: nn.Module, weights: Weights, *, prefix: str = "") -> WeightsReport:
    """Copies what fits into the model, or only into its part under `prefix`, and reports the rest."""
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if name.startswith(prefix)}
    state = {n: v for n, v in _last_stage_in_heads(weights.state, own).items() if n.startswith(prefix)}
    state |= _norms_of_scale_and_bias(model, state)
    report = WeightsReport(weights.source)
    with torch.no_grad():
        for name, value in state.items():
            if name not in own:
                # a counter that frozen norms have no use for, and rows that no model has
                if not name.endswith("num_batches_tracked") and not name.startswith(UNREAD):
                    report.unexpected.append(name)
            elif value.shape != own[name].shape:
                report.mismatched.append((name, tuple(value.shape), tuple(own[name].shape)))
            else:
                own[name].copy_(value)
                report.loaded.append(name)
    absent = own.keys() - state.keys()
    unimportant = ("num_batches_tracked", *_CONSTANTS)
    report.missing.extend(name for name in own if name in absent and not name.endswith(unimportant))
    return report


def with_channels_swapped(weights: Weights) -> Weights:
    """The first convolution's input channels in reverse: of a network for BGR pictures for one of RGB, and back."""
    found = {name: weights.state[name] for name in _FIRST_CONVOLUTIONS if name in weights.state}
    swapped = {name: value.flip(1) for name, value in found.items() if value.ndim == 4}
    if not swapped:
        raise WeightsError("the checkpoint holds no first convolution whose channels could be swapped")
    return replace(weights, state=weights.state | swapped)


def _last_stage_in_heads(state: State, own: Mapping[str, Tensor]) -> State:
    """The backbone's c5 for each head that has it as its own, where the model's backbone ends at c4."""
    moved = dict(state)
    for name in state:
        if name.startswith("backbone.c5.") and name not in own:
            places = [f"{head}.{name.removeprefix('backbone.')}" for head in ("box_head", "mask_head")]
            found = [place for place in places if place in own and place not in state]
            if found:
                moved |= dict.fromkeys(found, moved.pop(name))
    return moved


def _norms_of_scale_and_bias(model: nn.Module, state: State) -> State:
    """Statistics for norms that the source keeps as a scale and a bias: mean 0 and a variance that undoes eps."""
    added: State = {}
    for name, module in model.named_modules():
        mean, variance = f"{name}.running_mean", f"{name}.running_var"
        if isinstance(getattr(module, "running_var", None), Tensor) and f"{name}.weight" in state and mean not in state:
            added[mean] = torch.zeros_like(state[f"{name}.weight"])
            added[variance] = torch.full_like(state[f"{name}.weight"], 1 - module.eps)
    return added


def _find_state(top: Any, where: str) -> Mapping[Any, Any]:
    """The mapping of names to arrays inside whatever a program saved around it."""
    if not isinstance(top, Mapping):
        raise WeightsError(f"{where}: holds a {type(top).__name__}, expected named weights")
    for key in _STATE_KEYS:
        if isinstance(top.get(key), Mapping):
            return _find_state(top[key], where)
    return top


def _plain_state(found: Mapping[Any, Any], file_size: int, where: str) -> State:
    """The weights among the values, by their names. Each may become a copy of its own, so all are weighed before."""
    arrays = {str(key): value for key, value in found.items() if isinstance(value, Tensor | np.ndarray)}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, Tensor) or value.dtype.kind in "biufc"}
    if len(arrays) > _MOST_WEIGHTS:
        raise UnsafeFileError(f"{where}: {len(arrays):,} weights, and no model has over {_MOST_WEIGHTS:,}")
    for name in arrays:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise UnsafeFileError(f"{where}: no weight has the name {name[:80]!r}. The file is damaged or hostile.")
    nbytes = sum(value.nbytes for value in arrays.values())
    if nbytes > _SHARED + _SHARES * file_size:
        raise UnsafeFileError(
            f"{where}: its weights share memory and come to {nbytes:,} bytes by themselves, in a file of "
            f"{file_size:,}. Save each weight by itself: tensor.clone()."
        )
    return {name: _tensor(value) for name, value in arrays.items()}


def _tensor(value: Tensor | np.ndarray) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))


def _without_prefix(state: Mapping[str, Tensor]) -> State:
    """Without what DataParallel, DDP and compiled modules put before every name."""
    for _ in range(_MOST_PREFIXES):
        for prefix in ("module.", "_orig_mod."):
            if state and all(key.startswith(prefix) for key in state):
                state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def _told_by(top: Any, metadata: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """Class names and the config's text, where a checkpoint of mmdetection, Detectron or ours keeps them."""
    if "class_names" in metadata:
        return _names(metadata["class_names"]), metadata.get("config")
    meta = top.get("meta", {}) if isinstance(top, Mapping) else {}
    if not isinstance(meta, Mapping):
        return (), None
    data = meta.get("dataset_meta", {})
    names = meta.get("CLASSES") or (data.get("classes") or data.get("CLASSES") if isinstance(data, Mapping) else None)
    text = meta.get("cfg") or meta.get("config") or top.get("cfg")
    return _names(names), text if isinstance(text, str) else None


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in value):
        return tuple(value)
    return ()


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
