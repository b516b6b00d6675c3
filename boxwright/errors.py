"""Every error a user can meet, as one tree.

    BoxwrightError
    ├── ConfigError          a setting is wrong: the message lists every mistake with its path
    ├── WeightsError         a checkpoint cannot be read, or does not fit the model
    │   └── UnsafeFileError  a file asks for more than data: code, unknown classes, absurd sizes
    ├── DatasetError         annotations or a data folder are wrong
    ├── ImageError           a picture cannot be read
    ├── ShapeError           a tensor handed to the library has the wrong shape, dtype or values
    ├── BackendError         a forced backend cannot run here
    ├── DownloadError        a file cannot be fetched, or is not the one promised
    ├── TrainingError        a run cannot go on
    ├── ExportError          a model cannot be exported
    └── MissingExtraError    an optional dependency is not installed

A message says what was wrong, where (file, key, index) and what to do. The command line prints it as one line
and exits with 1; `--debug` shows the traceback.
"""


class BoxwrightError(Exception):
    """The root: catching it catches every error of the library."""


class ConfigError(BoxwrightError, ValueError):
    """Raised when a setting, or an argument that is one, is unknown or has a value that cannot be used."""


class WeightsError(BoxwrightError, ValueError):
    """Raised when a checkpoint cannot be read, holds no weights, or holds others than the model needs."""


class UnsafeFileError(WeightsError):
    """Raised when a file would run code, names classes that no checkpoint needs, or claims more than it can hold."""


class DatasetError(BoxwrightError, ValueError):
    """Raised when annotations, results or a folder of data cannot be read, contradict themselves or one another."""


class ImageError(BoxwrightError, ValueError):
    """Raised when a picture is missing, cannot be decoded, or is not the one that was asked for."""


class ShapeError(BoxwrightError, ValueError):
    """Raised when a tensor or array has another shape, type or range of values than the function takes."""


class BackendError(BoxwrightError, RuntimeError):
    """Raised when an op cannot run as it is asked to: on a forced backend, deterministically, or with a gradient."""


class DownloadError(BoxwrightError, OSError):
    """Raised when a file cannot be fetched or kept, or is not the one that its checksum promises."""


class TrainingError(BoxwrightError, RuntimeError):
    """Raised when a run cannot begin or go on: its folder, its memory, its numbers or its other processes fail."""


class ExportError(BoxwrightError, RuntimeError):
    """Raised when a model cannot be turned into a file for another runtime."""


class MissingExtraError(BoxwrightError, ImportError):
    """Raised where an optional dependency is used and not installed: one sentence with the command that installs it."""

    def __init__(self, *, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'boxwright[{extra}]'")
