"""How much plain data is when walked through: lists that hold others twice cost little memory and endless time."""

from typing import Any

from boxwright.errors import ConfigError

MAX_SIZE = 200_000  # characters of a string, items of a list, values of a whole config


def unfolded_size(value: Any) -> tuple[int, int]:
    """How many values a walk through `value` meets, and in how many places of memory they are.

    A list that holds another twice is met with twice its values; one that holds itself is endless.
    """
    sizes: dict[int, int] = {}
    todo: list[tuple[Any, bool]] = [(value, False)] if _holds(value) else []
    while todo:
        item, is_done = todo.pop()
        parts = list(item.values()) if isinstance(item, dict) else item
        if is_done:
            sizes[id(item)] = 1 + sum(sizes.get(id(part), MAX_SIZE) if _holds(part) else 1 for part in parts)
        elif id(item) not in sizes:
            sizes[id(item)] = MAX_SIZE + 1  # met again before it is done: it holds itself
            todo.append((item, True))
            todo.extend((part, False) for part in parts if _holds(part) and id(part) not in sizes)
    return sizes[id(value)] if _holds(value) else 1, len(sizes)


def _holds(value: Any) -> bool:
    return isinstance(value, list | tuple | dict)


def check_unfolded(value: Any, *, source: str) -> None:
    size, _ = unfolded_size(value)
    if size > MAX_SIZE:
        raise ConfigError(f"{source}: holds {min(size, 10**12)} values or more; a config has at most {MAX_SIZE}")
