"""Python expressions as data: literals, arithmetic, names, comprehensions, worked out by walking the syntax tree.

Old systems keep their configs as Python files. Nothing in such a file is executed: each node of the tree is either
one of those below, whose meaning is written here, or an error that names the file and the line. Work and sizes are
bounded, so a hostile file costs little.
"""

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.texts.python_operations import FAILURES, METHODS, PythonOperations
from boxwright.interop.texts.work import POINTER, TooMuchError, Work

MAX_DEPTH = 60
MAX_TOKENS = 100_000  # words and signs, those in texts too; a full dump of a large config has some 12,000
_MAX_SHOWN = 50  # parts of the syntax that an error writes out
_PLAIN = (str, int, float, bool, bytes, type(None))


class PythonValues:
    """Works out expressions of one file.

    `scope` holds the names that the file may use, `work` counts what working them out takes. A subclass gives meaning
    to more calls by `call`, and to more names by `name`.
    """

    def __init__(self, *, source: str, scope: dict[str, Any], work: Work) -> None:
        self.source = source
        self.scope = scope
        self.work = work
        self.operations = PythonOperations(work)
        self.depth = 0

    def value(self, node: ast.AST) -> Any:
        """What the expression `node` stands for."""
        self.step(node)
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

    def step(self, node: ast.AST, steps: float = 1) -> None:
        """Spends work on `node`, before it is done."""
        try:
            self.work.charge(steps)
        except TooMuchError as error:
            raise self.error(node, str(error)) from None

    def guarded(self, node: ast.AST, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`function(*args)`; what it cannot do is our error, with the line."""
        try:
            return function(*args, **kwargs)
        except FAILURES as error:
            if isinstance(error, ConfigError):
                raise
            message = str(error) if isinstance(error, TooMuchError) else f"cannot be worked out: {error}"
            raise self.error(node, message) from None

    def written(self, node: ast.AST, *, most: int = 80) -> str:
        """The source of a short expression, its first `most` characters."""
        return ast.unparse(node)[:most] if _is_short(node) else _describe(node)

    def error(self, node: ast.AST, message: str) -> ConfigError:
        """`message` with the file and the line of `node`."""
        return ConfigError(f"{self.source}:{getattr(node, 'lineno', 1)}: {message}")

    def name(self, node: ast.Name) -> Any:
        """What a name stands for at this line."""
        if node.id not in self.scope:
            raise self.error(node, f"the name {node.id} is not defined before this line")
        return self.scope[node.id]

    def call(self, node: ast.Call) -> Any:
        """Functions of plain data, and methods of strings, lists and dictionaries."""
        args, kwargs = self.arguments(node)
        functions = self.operations.functions
        if isinstance(node.func, ast.Name) and node.func.id in functions and node.func.id not in self.scope:
            return self.guarded(node, functions[node.func.id], *args, **kwargs)
        if isinstance(node.func, ast.Attribute):
            owner, name = self.value(node.func.value), node.func.attr
            if name in METHODS.get(type(owner), ()):
                return self.guarded(node, self.operations.method, owner, name, args, kwargs)
            raise self.error(node, f"calls .{name}() of {type(owner).__name__}, and a config is only read, never run")
        raise self.error(node, f"calls {self.written(node.func)}, and a config is only read, never run")

    def arguments(self, node: ast.Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call by place and by name, with * and ** opened."""
        args = self._items(node.args)
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                kwargs[keyword.arg] = value
            elif isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
                self.guarded(node, self.operations.update, kwargs, value)
            else:
                raise self.error(node, "** needs a dictionary with names as keys")
        return args, kwargs

    def attribute(self, node: ast.Attribute, owner: Any) -> Any:
        """`a.b` is `a["b"]`: the sources give their dictionaries attributes."""
        if isinstance(owner, dict) and node.attr in owner:
            return owner[node.attr]
        raise self.error(node, f"{self.written(node)} does not exist")

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                self.guarded(node, self.operations.method, items, "extend", [self.value(node.value)], {})
            else:
                items.append(self.value(node))
        return items

    def _Constant(self, node: ast.Constant) -> Any:  # noqa: N802
        if not isinstance(node.value, _PLAIN):
            raise self.error(node, f"{node.value!r} is not a value of a config")
        return self.guarded(node, self.operations.checked, node.value)

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
        return self.guarded(node, self.operations.make_set, self._items(node.elts))

    def _Dict(self, node: ast.Dict) -> dict[Any, Any]:  # noqa: N802
        result: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            worked_out = self.value(value)
            if key is None:
                self.guarded(node, self.operations.update, result, worked_out)
            else:
                self.guarded(node, self.operations.set_item, result, self.value(key), worked_out)
        return result

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        return self.guarded(node, self.operations.unary, type(node.op), self.value(node.operand))

    def _BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        return self.guarded(node, self.operations.binary, type(node.op), self.value(node.left), self.value(node.right))

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
            if not self.guarded(node, self.operations.compare, type(op), left, right):
                return False
            left = right
        return True

    def _IfExp(self, node: ast.IfExp) -> Any:  # noqa: N802
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _Subscript(self, node: ast.Subscript) -> Any:  # noqa: N802
        return self.guarded(node, self.operations.get_item, self.value(node.value), self.value(node.slice))

    def _Slice(self, node: ast.Slice) -> slice:  # noqa: N802
        return slice(*(None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)))

    def _JoinedStr(self, node: ast.JoinedStr) -> str:  # noqa: N802
        text = ""
        for part in node.values:  # one by one: each may be as long as a text may be
            text = self.guarded(node, self.operations.join, (text, self.value(part)))
        return text

    def _FormattedValue(self, node: ast.FormattedValue) -> str:  # noqa: N802
        if node.format_spec is not None:
            raise self.error(node, "a format inside an f-string is not understood; write the value plainly")
        conversion = {ord("r"): repr, ord("a"): ascii}.get(node.conversion, str)
        text: str = self.guarded(node, self.operations.text, self.value(node.value), conversion=conversion)
        return text

    def _ListComp(self, node: ast.ListComp) -> list[Any]:  # noqa: N802
        return [self.value(node.elt) for _ in self._loop(node, node.generators)]

    def _GeneratorExp(self, node: ast.GeneratorExp) -> list[Any]:  # noqa: N802
        return [self.value(node.elt) for _ in self._loop(node, node.generators)]

    def _DictComp(self, node: ast.DictComp) -> dict[Any, Any]:  # noqa: N802
        result: dict[Any, Any] = {}
        for _ in self._loop(node, node.generators):
            self.guarded(node, self.operations.set_item, result, self.value(node.key), self.value(node.value))
        return result

    def _loop(self, node: ast.AST, generators: list[ast.comprehension]) -> Iterator[None]:
        """Binds the loop's names, one round per step; names outside the comprehension are restored after it."""
        self.step(node, len(self.scope) * POINTER)
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
        for item in self.guarded(first.iter, self.operations.items, self.value(first.iter)):
            self.step(first.iter)
            self.bind(first.target, item)
            if all(self.value(condition) for condition in first.ifs):
                yield from self._rounds(rest)

    def bind(self, target: ast.expr, value: Any) -> None:
        """Assigns to a name or unpacks into several."""
        if isinstance(target, ast.Name):
            self.scope[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List):
            items = self.guarded(target, self.operations.items, value)
            if len(items) != len(target.elts):
                raise self.error(target, f"{len(items)} values for {len(target.elts)} names")
            for element, item in zip(target.elts, items, strict=True):
                self.bind(element, item)
        else:
            raise self.error(target, f"{_describe(target)} cannot be assigned to here")


_STATEMENT = re.compile(
    r"^[ \t]*(\w+[ \t]*=|from[ \t]+[.\w]+[ \t]+import\s|import[ \t]+\w|with[ \t]+read_base|\w+(\.\w+)+[ \t]*=)",
    re.MULTILINE,
)
_TOKEN = re.compile(r"\w+|[^\w \t]")


def is_python(text: str) -> bool:
    """Whether a config is Python and not YAML or JSON: it assigns or imports something."""
    return text.lstrip()[:1] != "{" and _STATEMENT.search(text) is not None


def parse(text: str, *, source: str, mode: str = "exec") -> Any:
    """The syntax tree of `text`; anything wrong with it is our error, with the line."""
    # A tree takes some 500 bytes for each, and what stands in the braces of an f-string is parsed on its own.
    if sum(1 for _ in islice(_TOKEN.finditer(text), MAX_TOKENS)) + 9 * text.count("{") >= MAX_TOKENS:
        raise ConfigError(f"{source}: more than {MAX_TOKENS} words and signs are too many for a config in Python")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of texts such as 1if x else y
            return ast.parse(text, mode=mode)
    except SyntaxError as error:
        raise ConfigError(f"{source}:{error.lineno or 1}: not valid Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{source}: not valid Python: {error or 'nested too deeply'}") from None


def literal(text: str, *, source: str, work: Work) -> Any:
    """The value of one expression such as `[[x, x * 2] for x in [32, 64]]`."""
    body = parse(text.strip(), source=source, mode="eval").body
    values = PythonValues(source=source, scope={}, work=work)
    value = values.value(body)
    values.guarded(body, values.operations.copy, value)  # charged as if nothing in it were shared
    return value


def _is_short(node: ast.AST) -> bool:
    open_nodes, count = [iter((node,))], 0
    while open_nodes and count < _MAX_SHOWN:
        inner = next(open_nodes[-1], None)
        if inner is None:
            open_nodes.pop()
        else:
            count += 1
            open_nodes.append(ast.iter_child_nodes(inner))
    return count < _MAX_SHOWN


def _describe(node: ast.AST) -> str:
    words = {"FunctionDef": "a function", "ClassDef": "a class", "Lambda": "a lambda", "Import": "an import"}
    kind = type(node).__name__
    return words.get(kind, f"this ({kind})")
