"""Operators, functions and methods of Python on plain data, each charged by the size of its result before it is made.

What they mean is what Python means; what is not here is not understood. Everything that cannot be done is an exception
of the kinds in `FAILURES`, without the line, which the caller knows.
"""

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from string import Formatter
from typing import Any

from boxwright.interop.tables.keys import copied
from boxwright.interop.texts.unfolded import unfolded_size
from boxwright.interop.texts.work import CHARACTER, OBJECT, POINTER, TooMuchError, Work

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
MAX_BITS = 4_096  # of a whole number
_MAX_DIGITS = 400  # that a number is rounded to
_MAX_KEY = 100  # values in a tuple that is a key: its hash is worked out at every use
_NUMBER_AS_TEXT = 8  # steps, for up to 316 digits
_SMALL = 100_000  # whole numbers below it share few hashes; larger ones can be chosen to share one

_SEQUENCES = (str, bytes, list, tuple)
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}
METHODS: dict[type, tuple[str, ...]] = {
    dict: ("update", "pop", "get", "keys", "values", "items", "copy", "setdefault"),
    list: ("append", "extend", "insert", "pop", "remove", "copy", "index", "count", "reverse"),
    tuple: ("index", "count"),
    str: ("replace", "split", "join", "lower", "upper", "strip", "startswith", "endswith", "format"),
}


class PythonOperations:
    """`functions` are those that a config may call by name."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.functions: dict[str, Callable[..., Any]] = {
            "dict": self._dict,
            "list": self.items,
            "tuple": self._tuple,
            "set": self.make_set,
            "range": self._range,
            "enumerate": self._enumerate,
            "zip": self._zip,
            "int": self._int,
            "str": self._str,
            "float": float,
            "bool": bool,
            "len": len,
            "abs": abs,
            "round": self._round,
            "sum": self._sum,
            "min": self._walked(min),
            "max": self._walked(max),
            "sorted": self._walked(sorted),
        }

    def unary(self, kind: type[ast.unaryop], value: Any) -> Any:
        """`-value`, `+value` or `not value`."""
        if kind not in _UNARY:
            raise TypeError(f"{kind.__name__} is not understood")
        return _UNARY[kind](value)

    def binary(self, kind: type[ast.operator], left: Any, right: Any) -> Any:
        """`left op right`."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if kind is ast.Pow else left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise TooMuchError("is a number too large for a config")
        if kind is ast.BitOr:
            return self._united(left, right)
        if kind not in _BINARY:
            raise TypeError(f"{kind.__name__} is not understood")
        if kind is ast.Mod and isinstance(left, str | bytes):
            self._check_percents(left, right)
        elif kind is ast.Sub and isinstance(left, set):
            return self.make_set([value for value in self.items(left) if not self.compare(ast.In, value, right)])
        else:
            self._charge_long(kind, left, right)
        return self.checked(_BINARY[kind](left, right))

    def compare(self, kind: type[ast.cmpop], left: Any, right: Any) -> bool:
        """`left op right`, of a comparison."""
        if kind in (ast.In, ast.NotIn) and isinstance(right, dict | set):
            self._check_key(right, left)
        elif kind not in (ast.Is, ast.IsNot):
            self.walk(left)
            self.walk(right)
        return _COMPARE[kind](left, right)

    def method(self, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """`owner.name(*args)`; the names are those of METHODS."""
        special = getattr(self, f"_{type(owner).__name__}_{name}", None)
        if special is not None:
            return self.checked(special(owner, *args, **kwargs))
        if isinstance(owner, dict) and args:
            self._check_key(owner, args[0])
        if name in ("index", "count", "remove", "startswith", "endswith"):
            self.walk([owner, args])
        if not isinstance(owner, dict):
            self.work.charge(len(owner) * (CHARACTER if isinstance(owner, str) else POINTER))
        return self.checked(getattr(owner, name)(*args, **kwargs))

    def get_item(self, owner: Any, index: Any) -> Any:
        """`owner[index]`."""
        if isinstance(owner, dict):
            self._check_key(owner, index)
        elif isinstance(index, slice):
            self.work.charge(len(owner) * POINTER)
        return owner[index]

    def set_item(self, owner: dict[Any, Any] | list[Any], index: Any, value: Any) -> None:
        """`owner[index] = value`."""
        if isinstance(owner, dict):
            self._check_key(owner, index)
            self.work.charge_length(len(owner) + 1, 0)
            self.work.charge(OBJECT)
        elif isinstance(index, slice):
            value = self.items(value)
            self.work.charge_length(len(owner) + len(value), POINTER)
        owner[index] = value

    def delete_item(self, owner: dict[Any, Any] | list[Any], index: Any) -> None:
        """`del owner[index]`."""
        if isinstance(owner, dict):
            self._check_key(owner, index)
        else:
            self.work.charge(len(owner) * POINTER)
        del owner[index]

    def items(self, value: Any = ()) -> list[Any]:
        """What a walk through `value` itself meets, as a list of its own."""
        if not isinstance(value, list | tuple | dict | set | str):
            raise TypeError(f"a {type(value).__name__} has no items")
        self.work.charge_length(len(value), POINTER)
        return list(value)

    def make_set(self, values: Any = ()) -> set[Any]:
        """`set(values)`."""
        result: set[Any] = set()
        for value in self.items(values):
            self._check_key(result, value)
            self.work.charge(OBJECT)
            result.add(value)
        return result

    def update(self, target: dict[Any, Any], changes: Any) -> None:
        """`target.update(changes)`, of a dictionary or of pairs."""
        pairs = list(changes.items()) if isinstance(changes, dict) else self.items(changes)
        for key, value in pairs:
            self.set_item(target, key, value)

    def text(self, value: Any, *, conversion: Callable[[Any], str] = str) -> str:
        """`str(value)`, or its repr()."""
        self.walk(value)
        text = conversion(value)
        self.work.charge_length(len(text), CHARACTER)
        return text

    def join(self, parts: Iterable[Any], separator: str = "") -> str:
        """The texts one behind the other."""
        texts = list(parts)
        if foreign := [part for part in texts if not isinstance(part, str)]:
            raise TypeError(f"expected texts to join, found a {type(foreign[0]).__name__}")
        self.work.charge_length(sum(map(len, texts)) + len(separator) * len(texts), CHARACTER)
        return separator.join(texts)

    def copy(self, value: Any) -> Any:
        """A copy of `value` and of all that it holds."""
        self.work.charge(self.walk(value) * OBJECT)
        return copied(value)

    def walk(self, value: Any) -> int:
        """Charges for a look at all that `value` holds, and returns how much that is."""
        size = unfolded_size(value)
        self.work.charge_length(size, OBJECT)
        return size

    def checked(self, value: Any) -> Any:
        """A result, which must be small enough to be worked with."""
        if isinstance(value, str | bytes | list | tuple | dict | set):
            self.work.charge_length(len(value), CHARACTER)
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise TooMuchError("is a number too large for a config")
        elif isinstance(value, complex):
            raise TypeError("complex numbers are no values of a config")
        return value

    def _check_key(self, owner: Mapping[Any, Any] | set[Any], key: Any) -> None:
        """A look-up may pass every key of the same hash, and texts alone have hashes that nobody can choose."""
        if isinstance(key, tuple) and unfolded_size(key) > _MAX_KEY:
            raise TooMuchError(f"has a key of more than {_MAX_KEY} values")
        if not isinstance(key, str):
            is_small = isinstance(key, int) and 0 <= key < _SMALL
            self.work.charge(len(owner) / (2000 if is_small else 32))

    def _charge_long(self, kind: type[ast.operator], left: Any, right: Any) -> None:
        for items, other in ((left, right), (right, left)):
            if isinstance(items, _SEQUENCES):
                price = CHARACTER if isinstance(items, str | bytes) else POINTER
                if kind is ast.Mult and isinstance(other, int):
                    self.work.charge_length(len(items) * max(other, 0), price)
                elif kind is ast.Add and isinstance(other, _SEQUENCES):
                    self.work.charge_length(len(items) + len(other), price)

    def _check_percents(self, left: Any, right: Any) -> None:
        if isinstance(left, bytes) or any(mark[:1] not in ("s", "d", "f", "g", "r", "%") for mark in _marks(left)):
            raise ValueError("only %s, %d, %f, %g and %r are understood")
        self.work.charge_length(len(left), CHARACTER)
        self.work.charge(left.count("%") * _NUMBER_AS_TEXT)
        self.walk(right)

    def _united(self, left: Any, right: Any) -> Any:
        if isinstance(left, dict) and isinstance(right, dict):
            result = self._dict(left)
            self.update(result, right)
            return result
        if isinstance(left, set) and isinstance(right, set):
            return self.make_set(self.items(left) + self.items(right))
        return operator.or_(left, right)

    def _walked(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, which compares what its arguments hold with one another."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.work.charge(sum(self.walk(value) for value in args) * OBJECT)
            return function(*args, **kwargs)

        return call

    def _dict(self, content: Any = (), /, **kwargs: Any) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self.update(result, content)
        self.update(result, kwargs)
        return result

    def _tuple(self, value: Any = ()) -> tuple[Any, ...]:
        return tuple(self.items(value))

    def _range(self, *args: Any) -> list[int]:
        numbers = range(*args)
        self.work.charge_length(len(numbers), OBJECT)
        return list(numbers)

    def _enumerate(self, value: Any, start: Any = 0) -> list[tuple[int, Any]]:
        items = self.items(value)
        self.work.charge(len(items) * 2 * OBJECT)
        return list(enumerate(items, start))

    def _zip(self, *args: Any) -> list[tuple[Any, ...]]:
        columns = [self.items(value) for value in args]
        length = min(map(len, columns), default=0)
        self.work.charge_length(length, OBJECT + len(columns) * POINTER)
        return list(zip(*columns, strict=False))

    def _int(self, value: Any = 0, *base: Any) -> int:
        if isinstance(value, str | bytes) and len(value) > MAX_BITS:
            raise TooMuchError("is a number too large for a config")
        return int(value, *base)

    def _str(self, value: Any = "") -> str:
        return self.text(value)

    def _round(self, value: Any, digits: Any = None) -> Any:
        if digits is not None and (not isinstance(digits, int) or abs(digits) > _MAX_DIGITS):
            raise ValueError(f"numbers are rounded to at most {_MAX_DIGITS} digits")
        return round(value, digits)

    def _sum(self, values: Any, start: Any = 0) -> Any:
        total = start
        for value in self.items(values):
            self.work.charge(1)
            total = self.binary(ast.Add, total, value)
        return total

    def _dict_keys(self, owner: dict[Any, Any]) -> list[Any]:
        return self.items(owner)

    def _dict_values(self, owner: dict[Any, Any]) -> list[Any]:
        self.work.charge_length(len(owner), POINTER)
        return list(owner.values())

    def _dict_items(self, owner: dict[Any, Any]) -> list[tuple[Any, Any]]:
        self.work.charge_length(len(owner), OBJECT + POINTER)
        return list(owner.items())

    def _dict_copy(self, owner: dict[Any, Any]) -> dict[Any, Any]:
        return self._dict(owner)

    def _dict_update(self, owner: dict[Any, Any], content: Any = (), /, **kwargs: Any) -> None:
        self.update(owner, content)
        self.update(owner, kwargs)

    def _list_append(self, owner: list[Any], value: Any) -> None:
        self.work.charge_length(len(owner) + 1, 0)
        owner.append(value)

    def _list_insert(self, owner: list[Any], index: Any, value: Any) -> None:
        self.work.charge_length(len(owner) + 1, POINTER)
        owner.insert(index, value)

    def _list_extend(self, owner: list[Any], values: Any) -> None:
        more = self.items(values)
        self.work.charge_length(len(owner) + len(more), POINTER)
        owner.extend(more)

    def _str_replace(self, owner: str, old: str, new: str, most: int = -1) -> str:
        count = owner.count(old) if most < 0 else min(owner.count(old), most)
        self.work.charge_length(len(owner) + count * (len(new) - len(old)), CHARACTER)
        return owner.replace(old, new, most)

    def _str_split(self, owner: str, separator: str | None = None, most: int = -1) -> list[str]:
        self.work.charge(len(owner) * OBJECT)
        return owner.split(separator, most)

    def _str_strip(self, owner: str, signs: str | None = None) -> str:
        self.work.charge(len(owner) * len(signs or " ") / 4096)
        return owner.strip(signs)

    def _str_join(self, owner: str, parts: Any) -> str:
        return self.join(self.items(parts), owner)

    def _str_format(self, owner: str, *args: Any, **kwargs: Any) -> str:
        fields = 0
        for _, field, width, conversion in Formatter().parse(owner):
            fields += field is not None
            if width or conversion or (field and not field.isidentifier() and not field.isdecimal()):
                raise ValueError("only plain {} and {name} are understood in .format()")
        texts = [self.text(value) for value in args]
        named = {name: self.text(value) for name, value in kwargs.items()}
        longest = max((len(text) for text in (*texts, *named.values())), default=0)
        self.work.charge_length(len(owner) + fields * longest, CHARACTER)
        return owner.format(*texts, **named)


def _marks(text: str) -> list[str]:
    """What stands behind each % of a text, with %% taken out."""
    return text.replace("%%", "").split("%")[1:]
