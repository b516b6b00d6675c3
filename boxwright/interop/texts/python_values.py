"""Python expressions as data: literals, arithmetic, names, comprehensions, worked out by walking the syntax tree.

Old systems keep their configs as Python files. Nothing in such a file is executed: each node of the tree is either
one of those below, whose meaning is written here, or an error that names the file and the line. Work and sizes are
bounded, so a hostile file costs little.
"""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.texts.unfolded import MAX_SIZE, unfolded_size

MAX_STEPS = 200_000  # a full dump of a large config takes some 20,000
MAX_DEPTH = 60
MAX_BITS = 4_096

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
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
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dict": dict,
    "list": list,
    "tuple": tuple,
    "set": set,
    "len": len,
    "range": lambda *args: list(range(*args)),
    "enumerate": lambda *args: list(enumerate(*args)),
    "zip": lambda *args: list(zip(*args, strict=False)),
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "min": min,
    "max": max,
    "sum": sum,
    "abs": abs,
    "round": round,
    "sorted": sorted,
}
_METHODS: dict[type, tuple[str, ...]] = {
    dict: ("update", "pop", "get", "keys", "values", "items", "copy", "setdefault"),
    list: ("append", "extend", "insert", "pop", "remove", "copy", "index", "count", "reverse"),
    tuple: ("index", "count"),
    str: ("replace", "split", "join", "lower", "upper", "strip", "startswith", "endswith", "format"),
}
# Functions and methods that walk through all that their arguments hold, which may be far more than memory holds.
_DEEP = {"str", "set", "min", "max", "sum", "sorted", "index", "count", "remove", "format", "join"}
_PLAIN = (str, int, float, bool, bytes, type(None))


class PythonValues:
    """Works out expressions of one file.

    `scope` holds the names that the file may use. A subclass gives meaning to more calls by `call`, and to more
    names by `name`.
    """

    def __init__(self, *, source: str, scope: dict[str, Any]) -> None:
        self.source = source
        self.scope = scope
        self.steps = 0
        self.depth = 0

    def value(self, node: ast.AST) -> Any:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.error(node, "takes too many steps to work out")
        visit = getattr(self, f"_{type(node).__name__}", None)
        if visit is None:
            raise self.error(node, f"{_describe(node)} is code, and a config is only read, never run")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(node, "is nested too deeply")
        try:
            return visit(node)
        finally:
            self.depth -= 1

    def error(self, node: ast.AST, message: str) -> ConfigError:
        return ConfigError(f"{self.source}:{getattr(node, 'lineno', 1)}: {message}")

    def name(self, node: ast.Name) -> Any:
        if node.id not in self.scope:
            raise self.error(node, f"the name {node.id} is not defined before this line")
        return self.scope[node.id]

    def call(self, node: ast.Call) -> Any:
        """Functions of plain data, and methods of strings, lists and dictionaries."""
        args, kwargs = self.arguments(node)
        if isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and node.func.id not in self.scope:
            if node.func.id == "range":
                self._check_size(node, len(range(*args)) if all(type(a) is int for a in args) else 0)
            if node.func.id in _DEEP:
                self._check_unfolded(node, args)
            return self._guarded(node, _FUNCTIONS[node.func.id], *args, **kwargs)
        if isinstance(node.func, ast.Attribute):
            return self._call_method(node, self.value(node.func.value), node.func.attr, args, kwargs)
        raise self.error(node, f"calls {ast.unparse(node.func)[:60]}, and a config is only read, never run")

    def arguments(self, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        args = self._items(node.args)
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
                kwargs.update(value)
            else:
                raise self.error(node, "** needs a dictionary with names as keys")
        return args, kwargs

    def attribute(self, node: ast.Attribute, owner: Any) -> Any:
        """`a.b` is `a["b"]`: the sources give their dictionaries attributes."""
        if isinstance(owner, dict) and node.attr in owner:
            return owner[node.attr]
        raise self.error(node, f"{ast.unparse(node)[:80]} does not exist")

    def _call_method(self, node: ast.Call, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if name not in _METHODS.get(type(owner), ()):
            raise self.error(node, f"calls .{name}() of {type(owner).__name__}, and a config is only read, never run")
        if name == "replace" and len(args) > 1 and isinstance(args[1], str):
            self._check_size(node, len(owner) * max(len(args[1]), 1))
        if name == "format" and any(sign in owner for sign in ":!.["):
            raise self.error(node, "only plain {} and {name} are understood in .format()")
        if name in _DEEP:
            self._check_unfolded(node, [owner, args, kwargs])
        result = self._guarded(node, getattr(owner, name), *args, **kwargs)
        return list(result) if name in ("keys", "values", "items") else result

    def _guarded(self, node: ast.AST, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            raise self.error(node, f"cannot be worked out: {error}") from None
        if isinstance(result, str | bytes | list | tuple | dict | set):
            self._check_size(node, len(result))
        return result

    def _check_size(self, node: ast.AST, size: int) -> None:
        if size > MAX_SIZE:
            raise self.error(node, f"would be {size} long; a config has at most {MAX_SIZE}")
        self.steps += size // 64  # copying a long list again and again is work too

    def _check_unfolded(self, node: ast.AST, value: Any) -> None:
        if isinstance(value, list | tuple | dict):
            size, places = unfolded_size(value)
            self._check_size(node, size)
            self.steps += places // 16

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items.extend(self._iterable(node, self.value(node.value)))
            else:
                items.append(self.value(node))
        return items

    def _iterable(self, node: ast.AST, value: Any) -> list[Any]:
        if not isinstance(value, list | tuple | dict | set | str):
            raise self.error(node, f"a {type(value).__name__} has no items")
        return list(value)

    def _Constant(self, node: ast.Constant) -> Any:  # noqa: N802
        if not isinstance(node.value, _PLAIN):
            raise self.error(node, f"{node.value!r} is not a value of a config")
        return node.value

    def _Name(self, node: ast.Name) -> Any:  # noqa: N802
        return self.name(node)

    def _Call(self, node: ast.Call) -> Any:  # noqa: N802
        return self.call(node)

    def _Attribute(self, node: ast.Attribute) -> Any:  # noqa: N802
        return self.attribute(node, self.value(node.value))

    def _List(self, node: ast.List) -> list[Any]:  # noqa: N802
        return self._items(node.elts)

    def _Tuple(self, node: ast.Tuple) -> tuple[Any, ...]:  # noqa: N802
        return tuple(self._items(node.elts))

    def _Set(self, node: ast.Set) -> Any:  # noqa: N802
        return self._guarded(node, set, self._items(node.elts))

    def _Dict(self, node: ast.Dict) -> dict[Any, Any]:  # noqa: N802
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            worked_out = self.value(value)
            if key is None:
                self._guarded(node, result.update, worked_out)
            else:
                self._guarded(node, result.__setitem__, self.value(key), worked_out)
        return result

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        if type(node.op) not in _UNARY:
            raise self.error(node, f"{_describe(node.op)} is not understood")
        return self._guarded(node, _UNARY[type(node.op)], self.value(node.operand))

    def _BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        left, right = self.value(node.left), self.value(node.right)
        if type(node.op) not in _BINARY:
            raise self.error(node, f"{_describe(node.op)} is not understood")
        self._check_growth(node, left, right)
        if isinstance(node.op, ast.Mod):
            self._check_unfolded(node, right)
        return self._guarded(node, _BINARY[type(node.op)], left, right)

    def _check_growth(self, node: ast.BinOp, left: Any, right: Any) -> None:
        """Refuses before the memory is taken: long repetitions, giant powers, padded formats."""
        if isinstance(node.op, ast.Mult):
            for items, count in ((left, right), (right, left)):
                if isinstance(items, str | bytes | list | tuple) and isinstance(count, int):
                    self._check_size(node, len(items) * max(count, 0))
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if isinstance(node.op, ast.Pow) else left.bit_length() + right.bit_length()
            if bits > MAX_BITS:
                raise self.error(node, "is a number too large for a config")
        if isinstance(node.op, ast.Mod) and isinstance(left, str | bytes) and not _is_plain_format(left):
            raise self.error(node, "only %s, %d, %f, %g and %r are understood")

    def _BoolOp(self, node: ast.BoolOp) -> Any:  # noqa: N802
        stop = isinstance(node.op, ast.Or)
        result: Any = None
        for part in node.values:
            result = self.value(part)
            if bool(result) is stop:
                break
        return result

    def _Compare(self, node: ast.Compare) -> bool:  # noqa: N802
        left = self.value(node.left)
        for op, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            self._check_unfolded(node, [left, right])
            if not self._guarded(node, _COMPARE[type(op)], left, right):
                return False
            left = right
        return True

    def _IfExp(self, node: ast.IfExp) -> Any:  # noqa: N802
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _Subscript(self, node: ast.Subscript) -> Any:  # noqa: N802
        owner = self.value(node.value)
        return self._guarded(node, operator.getitem, owner, self.value(node.slice))

    def _Slice(self, node: ast.Slice) -> slice:  # noqa: N802
        return slice(*(None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)))

    def _JoinedStr(self, node: ast.JoinedStr) -> str:  # noqa: N802
        return "".join(str(self.value(part)) for part in node.values)

    def _FormattedValue(self, node: ast.FormattedValue) -> str:  # noqa: N802
        if node.format_spec is not None:
            raise self.error(node, "a format inside an f-string is not understood; write the value plainly")
        value = self.value(node.value)
        self._check_unfolded(node, value)
        return repr(value) if node.conversion == ord("r") else self._guarded(node, str, value)

    def _ListComp(self, node: ast.ListComp) -> list[Any]:  # noqa: N802
        return [self.value(node.elt) for _ in self._loop(node.generators)]

    def _GeneratorExp(self, node: ast.GeneratorExp) -> list[Any]:  # noqa: N802
        return [self.value(node.elt) for _ in self._loop(node.generators)]

    def _DictComp(self, node: ast.DictComp) -> dict[Any, Any]:  # noqa: N802
        pairs = [(self.value(node.key), self.value(node.value)) for _ in self._loop(node.generators)]
        result: dict[Any, Any] = self._guarded(node, dict, pairs)
        return result

    def _loop(self, generators: list[ast.comprehension]) -> Iterator[None]:
        """Binds the loop's names, one round per step; names outside the comprehension are restored after it."""
        outer = dict(self.scope)
        try:
            yield from self._rounds(generators)
        finally:
            self.scope.clear()
            self.scope.update(outer)

    def _rounds(self, generators: list[ast.comprehension]) -> Iterator[None]:
        if not generators:
            yield
            return
        first, rest = generators[0], generators[1:]
        for item in self._iterable(first.iter, self.value(first.iter)):
            self.bind(first.target, item)
            if all(self.value(condition) for condition in first.ifs):
                yield from self._rounds(rest)

    def bind(self, target: ast.expr, value: Any) -> None:
        """Assigns to a name or unpacks into several."""
        if isinstance(target, ast.Name):
            self.scope[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = self._iterable(target, value)
            if len(items) != len(target.elts):
                raise self.error(target, f"{len(items)} values for {len(target.elts)} names")
            for element, item in zip(target.elts, items, strict=True):
                self.bind(element, item)
        else:
            raise self.error(target, f"{_describe(target)} cannot be assigned to here")


_STATEMENT = re.compile(
    r"^\s*(\w+\s*=|from\s+[.\w]+\s+import\s|import\s+\w|with\s+read_base|\w+(\.\w+)+\s*=)", re.MULTILINE
)


def is_python(text: str) -> bool:
    """Whether a config is Python and not YAML or JSON: it assigns or imports something."""
    return text.lstrip()[:1] != "{" and _STATEMENT.search(text) is not None


def parse(text: str, *, source: str, mode: str = "exec") -> Any:
    """The syntax tree of `text`; anything wrong with it is our error, with the line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of texts such as 1if x else y
            return ast.parse(text, mode=mode)
    except SyntaxError as error:
        raise ConfigError(f"{source}:{error.lineno or 1}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{source}: not valid Python: {error or 'nested too deeply'}") from None


def literal(text: str, *, source: str) -> Any:
    """The value of one expression such as `[[x, x * 2] for x in [32, 64]]`."""
    tree = parse(text.strip(), source=source, mode="eval")
    return PythonValues(source=source, scope={}).value(tree.body)


def _is_plain_format(text: str | bytes) -> bool:
    return isinstance(text, str) and all(mark[:1] in "sdfgr%" for mark in text.split("%")[1:])


def _describe(node: ast.AST) -> str:
    words = {"FunctionDef": "a function", "ClassDef": "a class", "Lambda": "a lambda", "Import": "an import"}
    kind = type(node).__name__
    return words.get(kind, f"this ({kind})")
