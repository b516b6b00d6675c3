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
    ├── OutputError          a file cannot be written, or would replace what somebody else made
    ├── TrainingError        a run cannot go on
    ├── ExportError          a model cannot be exported
    └── MissingExtraError    an optional dependency is not installed

A message says what was wrong, where (file, key, index) and what to do. The command line prints it as one line
and exits with 1; `--debug` shows the traceback.
"""


class BoxwrightError(Exception):
    """The root: catching it catches every error of the library."""


class ConfigError(BoxwrightError, ValueError):
    pass


class WeightsError(BoxwrightError, ValueError):
    pass


class UnsafeFileError(WeightsError):
    pass


class DatasetError(BoxwrightError, ValueError):
    pass


class ImageError(BoxwrightError, ValueError):
    pass


class ShapeError(BoxwrightError, ValueError):
    pass


class BackendError(BoxwrightError, RuntimeError):
    pass


class DownloadError(BoxwrightError, OSError):
    pass


class OutputError(BoxwrightError, OSError):
    pass


class TrainingError(BoxwrightError, RuntimeError):
    pass


class ExportError(BoxwrightError, RuntimeError):
    pass


class MissingExtraError(BoxwrightError, ImportError):
    """`import_extra` in the place of use raises it: one sentence with the command that installs what is missing."""

    def __init__(self, *, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'boxwright[{extra}]'")
