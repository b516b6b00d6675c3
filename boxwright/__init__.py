"""The whole R-CNN family on today's PyTorch.

The names below are the public contract. They are imported when first used, so `import boxwright` costs nothing.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # public name -> the module that defines it
    "Batch": "boxwright.types",
    "Detections": "boxwright.types",
    "Target": "boxwright.types",
    "BoxwrightError": "boxwright.errors",
    "Config": "boxwright.config",
    "Detector": "boxwright.engine.detector",
    "evaluate": "boxwright.engine.evaluation",
    "load": "boxwright.engine.loading",
    "load_config": "boxwright.engine.loading",
    "load_weights": "boxwright.engine.loading",
    "save": "boxwright.engine.loading",
    "train": "boxwright.engine.training.train",
}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from boxwright.config import Config as Config
    from boxwright.engine.detector import Detector as Detector
    from boxwright.engine.evaluation import evaluate as evaluate
    from boxwright.engine.loading import load as load
    from boxwright.engine.loading import load_config as load_config
    from boxwright.engine.loading import load_weights as load_weights
    from boxwright.engine.loading import save as save
    from boxwright.engine.training.train import train as train
    from boxwright.errors import BoxwrightError as BoxwrightError
    from boxwright.types import Batch as Batch
    from boxwright.types import Detections as Detections
    from boxwright.types import Target as Target


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'boxwright' has no attribute {name!r}; it has {', '.join(__all__)}")
    with _nothing_collected():
        globals()[name] = value = getattr(import_module(_HOME[name]), name)
    return value


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """What is imported stays: Python would search some 200,000 new objects for garbage, several times and in vain."""
    if not gc.isenabled() or gc.get_freeze_count():  # somebody has plans of their own
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # among the old objects now, which are searched seldom
        gc.enable()


def __dir__() -> list[str]:
    return sorted(__all__)
