"""How much plain data is when walked through: lists that hold others twice cost little memory and endless time."""

from typing import Any

from boxwright.errors import ConfigError

MAX_SIZE = 200_000  # characters of a text, items of a list, values of a whole config


def unfolded_size(value: Any) -> int:
    """How many values a walk through `value` meets, long texts and numbers counted as several.

    A list that holds another twice is met with twice its values; one that holds itself is endless. From MAX_SIZE on
    any larger number may come.
    """
    sizes: dict[int, int] = {}
    todo: list[tuple[Any, bool]] = [(value, False)] if _holds(value) else []
    looked_at = 0
    while todo:
        item, is_done = todo.pop()
        if is_done:
            parts = _parts(item)
            sizes[id(item)] = 1 + sum(sizes[id(part)] if _holds(part) else _weight(part) for part in parts)
        elif id(item) not in sizes:
            looked_at += len(item)
            if looked_at > MAX_SIZE:
                return MAX_SIZE + 1
            sizes[id(item)] = MAX_SIZE + 1  # met again before it is done: it holds itself
            todo.append((item, True))
            todo.extend((part, False) for part in _parts(item) if _holds(part) and id(part) not in sizes)
    return sizes[id(value)] if _holds(value) else _weight(value)


def check_unfolded(value: Any, *, source: str) -> None:
    """ConfigError where a walk through `value` would meet too much."""
    if unfolded_size(value) > MAX_SIZE:
        raise ConfigError(f"{source}: holds more than {MAX_SIZE} values, each written out where it stands")


def _holds(value: Any) -> bool:
    return isinstance(value, list | tuple | dict | set)


def _parts(value: Any) -> list[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else list(value)


def _weight(value: Any) -> int:
    if isinstance(value, str | bytes):
        return 1 + len(value) // 8
    return 1 + value.bit_length() // 32 if isinstance(value, int) else 1
