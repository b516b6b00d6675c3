"""`init_detector`, `inference_detector` and `model.show_result` with the arguments and results of mmdetection 2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from boxwright.compat.mmdet.results import Result, encode_mask_results, from_result, to_result
from boxwright.config import Config
from boxwright.data.image import load_image
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load, load_config
from boxwright.files import atomic_write
from boxwright.interop.mmdetection.config import mmdetection_settings, translate_mmdetection
from boxwright.interop.tables.coco_names import with_coco_names
from boxwright.interop.tables.keys import put
from boxwright.interop.texts.config_files import read_text
from boxwright.report.draw import draw_detections

__all__ = ["Model", "encode_mask_results", "inference_detector", "init_detector", "show_result_pyplot"]

Picture = str | Path | np.ndarray  # a file, or (H, W, 3) uint8 in the order blue, green, red


class Model:
    """What `init_detector` returns. `detector` is Boxwright's own."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector
        self.CLASSES: tuple[str, ...] = detector.class_names or tuple(
            str(number) for number in range(detector.config.model.num_classes)
        )
        self.dataset_meta = {"classes": self.CLASSES, "CLASSES": self.CLASSES}
        self.cfg = detector.config

    def eval(self) -> "Model":
        """`self`: it always detects in evaluation mode."""
        return self

    def show_result(
        self,
        img: Picture,
        result: Result,
        score_thr: float = 0.3,
        show: bool = False,
        out_file: str | Path | None = None,
        **style: Any,
    ) -> np.ndarray:
        """The picture with the result painted on it, (H, W, 3) uint8 blue, green, red; written to `out_file` too.

        The original's options of style (colours, thickness, font) are accepted and have no effect.
        """
        picture = _as_rgb(img)
        found = from_result(result, size=(picture.shape[0], picture.shape[1]), class_names=self.CLASSES)
        drawn = draw_detections(found[found.scores >= score_thr], image=picture)
        if out_file is not None:
            with atomic_write(out_file) as file:
                drawn.save(file, format=Image.registered_extensions().get(Path(out_file).suffix.lower(), "PNG"))
        if show:
            drawn.show()
        return np.ascontiguousarray(np.asarray(drawn)[:, :, ::-1])


def init_detector(
    config: str | Path | Config,
    checkpoint: str | Path | None = None,
    device: str | torch.device = "auto",
    cfg_options: Mapping[str, Any] | None = None,
    **unused: Any,
) -> Model:
    """A model from a config file and a checkpoint; `cfg_options` changes the file's own keys ("model.test_cfg...").

    The config and the checkpoint may be of any source that Boxwright reads. Without a device the GPU is taken where
    there is one; "palette" and the like are accepted and have no effect.
    """
    if cfg_options:
        path = Path(str(config))
        settings = mmdetection_settings(read_text(path), source=str(config), path=path)
        for name, value in cfg_options.items():
            put(settings, name, value)
        read = with_coco_names(translate_mmdetection(settings, source=str(config))[0])
    else:
        read = config if isinstance(config, Config) else load_config(config)
    return Model(load(read, checkpoint, device=device))


def inference_detector(model: Model, imgs: Picture | Sequence[Picture]) -> Any:
    """One picture gives one result, a list of pictures a list of them.

    A result is a list with a (n, 5) float32 array per class, and for a model with masks a pair of that list and one
    of lists of (H, W) bool arrays.
    """
    if isinstance(imgs, list | tuple):
        found = model.detector([_as_rgb(img) for img in imgs])
        return [to_result(each, len(model.CLASSES)) for each in found]
    return to_result(model.detector(_as_rgb(imgs)), len(model.CLASSES))  # type: ignore[arg-type]


def show_result_pyplot(
    model: Model, img: Picture, result: Result, score_thr: float = 0.3, out_file: str | Path | None = None, **style: Any
) -> None:
    """Shows the picture in a window, or writes it where `out_file` is given."""
    model.show_result(img, result, score_thr=score_thr, show=out_file is None, out_file=out_file)


def _as_rgb(img: Picture) -> np.ndarray:
    if isinstance(img, np.ndarray):
        return np.ascontiguousarray(img[:, :, ::-1])
    return load_image(img)
