"""From a name or a file to a detector: presets, our own files, the configs and checkpoints of every known source."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import torch

from boxwright.config import Config, dump
from boxwright.engine.detector import Detector, Precision
from boxwright.engine.unfilled import UnfilledParameters
from boxwright.errors import BoxwrightError, ConfigError, WeightsError
from boxwright.files import is_readable
from boxwright.interop.config import read_config, read_config_text
from boxwright.interop.download import Progress, fetch_model
from boxwright.interop.files.safetensors_file import write_safetensors
from boxwright.interop.weights import Weights, WeightsReport, load_state, read_weights, with_channels_swapped
from boxwright.interop.zoo.configs import is_published
from boxwright.interop.zoo.models import ZooModel, find_model

_LOG = logging.getLogger(__name__)
_CONFIG_ENDINGS = (".yaml", ".yml", ".py", ".json")
BEST, LAST = "best.safetensors", "model.safetensors"  # in the folder of a run


def load(
    source: str | Path | Config,
    weights: str | Path | None = None,
    *,
    device: str | torch.device = "auto",
    precision: Precision = "fp32",
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Detector:
    """A detector ready to use.

    `source` is settings, a preset's name ("mask_rcnn_r50_fpn"), a published model's name
    ("detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x": downloaded once), a config of any known source, or a
    checkpoint of ours or of mmdetection, which holds its config, or the folder of a run, whose best weights are taken.
    `weights` is a checkpoint of any source; with it nothing is downloaded. Settings inside a checkpoint win over those
    that a published name stands for. A preset without weights has random ones. `overrides` change settings.

        detector = bw.load("torchvision/maskrcnn_resnet50_fpn_v2", overrides=["test.score_threshold=0.5"])
        detector = bw.load("mask_rcnn_r50_fpn", "model_final.pkl", device="cuda", precision="bf16")
        print(detector("street.jpg"))
    """
    found: Weights | None = None
    source = _of_run(source)
    if weights is None and _is_checkpoint(source):
        found, settings = read_weights(str(source)), None
    elif (model := _published(source)) is not None:
        found = read_weights(weights or fetch_model(model, progress=progress))
        settings = None if found.config_text else load_config(model.name)
    else:
        found = None if weights is None else read_weights(weights)
        settings = source if isinstance(source, Config) else load_config(source)
    options: _Options = {"device": device, "precision": precision, "overrides": overrides}
    if found is None:
        assert settings is not None
        return _detector(settings, **options)
    return detector_of(found, config=settings, where=str(weights or source), **options)


def detector_of(
    weights: Weights,
    *,
    config: Config | str | Path | None,
    where: str,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    overrides: Sequence[str] = (),
) -> Detector:
    """A detector with exactly these weights; without `config` the settings inside their file, `where`, are taken."""
    if config is None:
        config = _config_of(weights, where)
    settings = config if isinstance(config, Config) else load_config(config)
    if len(weights.class_names) == settings.model.num_classes:
        settings = settings.with_(model=settings.model.with_(class_names=weights.class_names))
    held = sum(value.nbytes for value in weights.state.values())
    with UnfilledParameters(held=held, where=where):
        detector = _detector(settings, device=device, precision=precision, overrides=overrides)
    report = load_state(detector.model, weights)
    _check_complete(report, where)
    if report.unexpected:
        some = ", ".join(report.unexpected[:3])
        _LOG.warning("%s: %d weights have no place in the model, first %s", where, len(report.unexpected), some)
    return detector


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Settings from a preset's name, a published model's name, or a config of ours or of any known source.

    `overrides` change some of them by their paths.

        config = bw.load_config("mask_rcnn_r50_fpn", ["model.num_classes=3", "train.lr=0.01"])
        detector = bw.load(config)
    """
    return read_config(source, overrides)


def load_weights(
    detector: Detector, path: str | Path, *, prefix: str = "", swap_channels: bool = False
) -> WeightsReport:
    """Copies the weights that fit, or only those of the part under `prefix`, and reports the rest.

    Weights of another number of classes do not fit: they stay as initialised and are listed as of another shape.
    `swap_channels` turns the first convolution from BGR pictures to RGB ones, or back.

        detector = bw.load("mask_rcnn_r50_fpn", overrides=["model.num_classes=3"])
        print(bw.load_weights(detector, "model_final.pkl"))  # what was loaded, and what did not fit
    """
    weights = read_weights(path)
    return load_state(detector.model, with_channels_swapped(weights) if swap_channels else weights, prefix=prefix)


def save(detector: Detector, path: str | Path, *, prefix: str = "") -> None:
    """Writes the weights, or those of the part under `prefix`, as safetensors with settings and class names inside.

    With all weights the file is complete: `bw.load` takes it alone.

        bw.save(detector, "mine.safetensors")
        detector = bw.load("mine.safetensors")
    """
    state = {name: value for name, value in detector.model.state_dict().items() if name.startswith(prefix)}
    if not state:
        parts = ", ".join(name for name, _ in detector.model.named_children())
        raise WeightsError(f"no weight's name starts with {prefix!r}; the model's parts are {parts}")
    write_safetensors(path, state, config=dump(detector.config), class_names=list(detector.class_names))


def pick_device(device: str | torch.device) -> torch.device:
    """ "auto" is the GPU where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {str(device)!r} cannot be used here: {reason}") from error
    return chosen


class _Options(TypedDict):
    device: str | torch.device
    precision: Precision
    overrides: Sequence[str]


def _detector(
    config: Config, *, device: str | torch.device, precision: Precision, overrides: Sequence[str]
) -> Detector:
    """With random weights."""
    config, device = config.with_(*overrides), pick_device(device)
    try:
        return Detector(config=config, device=device, precision=precision)
    except BoxwrightError:
        raise
    except (ArithmeticError, IndexError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"no model can be built from these settings: {type(error).__name__}: {error}") from error


def _of_run(source: str | Path | Config) -> str | Path | Config:
    """The best weights in the folder of a run, else the last; anything else as it is."""
    if isinstance(source, Config) or not is_readable(Path(source) / "config.yaml"):
        return source
    found = [Path(source) / name for name in (BEST, LAST) if is_readable(Path(source) / name)]
    if not found:
        raise WeightsError(f"{source}: the folder of a run that has not written weights yet")
    return found[0]


def _is_checkpoint(source: str | Path | Config) -> bool:
    return not isinstance(source, Config) and is_readable(Path(source)) and Path(source).suffix not in _CONFIG_ENDINGS


def _config_of(weights: Weights, where: str) -> Config:
    if weights.config_text is None:
        raise ConfigError(
            f"{where}: holds weights of {weights.source} but no settings; give its config, and weights={where}"
        )
    return read_config_text(weights.config_text, source=f"the config in {where}")[0]


def _published(source: str | Path | Config) -> ZooModel | None:
    """The published model that `source` names; a name with a known source's prefix must be one."""
    is_name = not isinstance(source, Config) and is_published(str(source)) and not is_readable(Path(source))
    return find_model(str(source)) if is_name else None


def _check_complete(report: WeightsReport, where: str) -> None:
    """A detector with parts left at random would only pretend to work."""
    if report.mismatched:
        name, theirs, ours = report.mismatched[0]
        raise WeightsError(
            f"{where}: {len(report.mismatched)} weights do not fit the settings, first {name}: {theirs} in the file, "
            f"{ours} in the model. Is this the model's config? For other classes load the settings alone, then "
            "load_weights()."
        )
    if report.missing:
        some = ", ".join(report.missing[:3])
        raise WeightsError(f"{where}: {len(report.missing)} weights of the model are not in the file, first {some}")
