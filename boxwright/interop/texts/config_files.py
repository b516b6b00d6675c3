"""Config files as text: size bounds, encoding, bases found relative to the file."""

from pathlib import Path

from boxwright.errors import ConfigError
from boxwright.files import read_bytes

MAX_BYTES = 4 * 2**20  # the largest full dump of a zoo is 60 kB


def read_text(path: Path) -> str:
    """The text of a config file; anything else (a folder, a picture, a checkpoint) is an error that says so."""
    try:
        text = read_bytes(path, error=ConfigError, most=MAX_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text; a checkpoint is given as weights, not as the config") from None
    return check_text(text, source=str(path))


def check_text(text: str, *, source: str) -> str:
    """`text`, unless it is too long for a config or no text at all."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{source}: {len(text)} characters are too many for a config (at most {MAX_BYTES})")
    if "\0" in text:
        raise ConfigError(f"{source}: is not text; a checkpoint is given as weights, not as the config")
    return text


def base_path(base: str, *, folder: Path | None) -> Path:
    """Where a base lies: `~` and absolute paths as they are, others beside the file that names them."""
    try:
        path = Path(base).expanduser()
    except RuntimeError:
        path = Path(base)
    return path if path.is_absolute() or folder is None else folder / path
