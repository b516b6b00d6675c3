"""What reading one config may cost, all its files together: steps of work, and the base files that it starts from."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from boxwright.errors import ConfigError
from boxwright.files import is_readable
from boxwright.interop.texts.config_files import read_text
from boxwright.interop.texts.unfolded import MAX_SIZE, check_unfolded, unfolded_size

MAX_STEPS = 100_000  # a full dump of a large config takes some 20,000
MAX_BASES = 100
_MAX_CHAIN = 30
MAX_BASE_CHARACTERS = 2**20
# Prices in steps. A step stands for some 2 microseconds and 256 bytes.
CHARACTER, POINTER, OBJECT = 1 / 64, 1 / 32, 1 / 4
_ENDINGS = (".py", ".yaml", ".yml", ".json")


class TooMuchError(ValueError):
    """An operation would cost more than a config is worth; caught where its line is known, which the message names."""


class Work:
    """Counts. `path` is the config file that the user named; without one, no base is read from a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.steps = 0.0
        self._bases = 0
        self._characters = 0
        self._open = [] if path is None else [path.resolve()]

    def charge(self, steps: float) -> None:
        """Spends steps, before they are taken."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise TooMuchError("takes too many steps to work out")

    def charge_length(self, length: int, price: float) -> None:
        """Spends for a text or list of `length`, before it is made."""
        if length > MAX_SIZE:
            raise TooMuchError(f"would be {length} long; a config has at most {MAX_SIZE}")
        self.charge(length * price)

    def check(self, content: Any, *, source: str) -> None:
        """Spends for what will be done with the content of a file; ConfigError where it is too much."""
        check_unfolded(content, source=source)
        try:
            self.charge(unfolded_size(content) * OBJECT / 2)
        except TooMuchError as error:
            raise ConfigError(f"{source}: {error}") from None

    def count_base(self, source: str) -> None:
        """One base more, whether a file or one that is known without."""
        self._bases += 1
        if self._bases > MAX_BASES:
            raise ConfigError(f"{source}: starts from more than {MAX_BASES} files, all bases of its bases counted")

    def has_base(self, path: Path) -> bool:
        """Whether a base may be read from `path`: it is there, and the config is a file that the user named."""
        return bool(self._open) and is_readable(path)

    def place(self, path: Path) -> str:
        """For an error: where a base was looked for, as in "the base is not ..."."""
        return f"there ({path})" if self._open else "known, and bases are read only for a config that is a file"

    @contextmanager
    def base(self, path: Path, *, name: str, source: str) -> Iterator[tuple[Path, str]]:
        """The real path and the text of a base; inside the block it is open, and must not be opened again."""
        if path.suffix not in _ENDINGS:
            raise ConfigError(f"{source}: the base {name!r} is no config: they end in {', '.join(_ENDINGS)}")
        path = path.resolve()
        if path in self._open:
            raise ConfigError(f"{source}: the base {name!r} leads back to itself")
        if len(self._open) > _MAX_CHAIN:
            raise ConfigError(f"{source}: more than {_MAX_CHAIN} bases, each the base of the one before it")
        text = read_text(path)
        self._characters += len(text)
        if self._characters > MAX_BASE_CHARACTERS:
            raise ConfigError(f"{source}: its bases hold more than {MAX_BASE_CHARACTERS} characters")
        self._open.append(path)
        try:
            yield path, text
        finally:
            self._open.pop()
