"""Every error a user can meet, as one tree.

    BoxwrightError
    ├── ConfigError          a setting is wrong: the message lists every mistake with its path
    ├── WeightsError         a checkpoint cannot be read, or does not fit the model
    │   └── UnsafeFileError  a file asks for more than data: code, unknown classes, absurd sizes
    ├── DatasetError         annotations or a data folder are wrong
    ├── ImageError           a picture cannot be read
    ├── ShapeError           a tensor handed to the library has the wrong shape, dtype or values
    ├── BackendError         an op cannot run as it is asked to
    ├── DownloadError        a file cannot be fetched, or is not the one promised
    ├── OutputError          a file cannot be written, or would replace what somebody else made
    ├── TrainingError        a run cannot begin or go on
    ├── ExportError          a model cannot be exported
    └── MissingExtraError    an optional dependency is not installed

A message says what was wrong, where (file, key, index) and what to do. The command line prints it as one line
and exits with 1; `--debug` shows the traceback.
"""

import re

LONGEST = 800  # characters of one line of a message
MOST_LINES = 40  # of a message that lists mistakes, each on a line of its own

# What moves a terminal's cursor, turns its text around or is no character at all; line breaks and tabs apart.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_BREAK = re.compile(r"[\t\n\v\f\r\x85 ]*[\t\n\v\f\r\x85][\t\n\v\f\r\x85 ]*")
_NEW_MISTAKE = re.compile(r"\n  (?=[^\s])")  # how our own lists of mistakes begin a line


class BoxwrightError(Exception):
    """The root, never raised itself: catching it catches every error of the library.

    Whatever a file or a server put into its message, the message is `readable`.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(readable(part) if isinstance(part, str) else part for part in arguments))


def readable(message: str) -> str:
    """A message for a terminal: one short line, or our own list of mistakes with one short line for each.

    What has no place in a line is written as an escape (`\\x1b`); of what is too long the middle is left out.
    """
    lines = _NEW_MISTAKE.split(message, maxsplit=MOST_LINES)
    if len(lines) > MOST_LINES:
        lines[-1] = f"and {len(_NEW_MISTAKE.findall(lines[-1])) + 1:,} more"
    return "\n  ".join(_one_line(line) for line in lines)


def escaped(text: str) -> str:
    """A text for a terminal, line by line as it is: only what would act on the terminal becomes an escape."""
    return _HARMFUL.sub(lambda harmful: harmful[0].encode("unicode_escape").decode("ascii"), text)


def _one_line(text: str) -> str:
    return _shortened(escaped(_BREAK.sub(" ", _shortened(text))))


def _shortened(text: str) -> str:
    """The beginning says what and where, the end what to do."""
    if len(text) <= LONGEST:
        return text
    end = LONGEST // 3
    return f"{text[: LONGEST - end - 5]} ... {text[-end:]}"


class ConfigError(BoxwrightError, ValueError):
    """Raised when a setting, or an argument that is one, is unknown or has a value that cannot be used."""


class WeightsError(BoxwrightError, ValueError):
    """Raised when a checkpoint cannot be read, holds no weights, or holds others than the model needs."""


class UnsafeFileError(WeightsError):
    """Raised when a file would run code, names classes that no checkpoint needs, or claims more than it can hold."""


class DatasetError(BoxwrightError, ValueError):
    """Raised when annotations, results or a folder of data cannot be read, contradict themselves or one another."""


class ImageError(BoxwrightError, ValueError):
    """Raised when a picture is missing, cannot be decoded, or is not of the size of what is drawn on it."""


class ShapeError(BoxwrightError, ValueError):
    """Raised when a tensor or array has another shape, type or range of values than the function takes."""


class BackendError(BoxwrightError, RuntimeError):
    """Raised when an op cannot run as it is asked to: on a forced backend, deterministically, with a gradient; or when
    no backend or op has the name."""


class DownloadError(BoxwrightError, OSError):
    """Raised when a file cannot be fetched or kept, or is not the one that its checksum promises."""


class OutputError(BoxwrightError, OSError):
    """Raised when a result cannot be written, or would replace a file that is not ours to replace."""


class TrainingError(BoxwrightError, RuntimeError):
    """Raised when a run cannot begin or go on: its folder, its memory, its numbers or its other processes fail; or when
    a folder or file that should be of a run is of none."""


class ExportError(BoxwrightError, RuntimeError):
    """Raised when a model cannot be turned into a file for another runtime. Nothing is exported yet."""


class MissingExtraError(BoxwrightError, ImportError):
    """Raised where an optional dependency is used and not installed: one sentence with the command that installs it."""

    def __init__(self, *, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install 'boxwright[{extra}]'")
