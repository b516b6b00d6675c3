"""Detectron2's LazyConfig files: Python in which `L(Class)(...)` describes an object, read without running it.

The result is nested dictionaries with the class's name under `_target_`, as Detectron2 itself dumps them to YAML.
"""

import ast
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.detectron2.lazy_bases import zoo_module
from boxwright.interop.texts.python_files import Imported, PythonFile
from boxwright.interop.texts.python_values import parse
from boxwright.interop.texts.unfolded import MAX_SIZE
from boxwright.interop.texts.work import POINTER, Work

TARGET = "_target_"
_MAKERS = ("LazyCall", "L")
_EMPTY = ("OmegaConf.create", "DictConfig", "edict", "EasyDict")


@dataclass(frozen=True, slots=True)
class _Maker:
    """`L(target)`, waiting for its arguments."""

    target: str


@dataclass(frozen=True, slots=True)
class _Function:
    """A function that the file defines, read statement by statement when the file calls it."""

    node: ast.FunctionDef


class _Returned(Exception):  # noqa: N818
    """Ends the reading of a function's statements."""

    def __init__(self, value: Any) -> None:
        self.value = value


class LazyFile(PythonFile):
    """One LazyConfig file. Modules that it imports are looked for in `folder`, then among the zoo's."""

    def __init__(self, *, source: str, folder: Path | None, work: Work) -> None:
        super().__init__(source=source, scope={}, work=work)
        self.folder = folder

    def statement(self, node: ast.stmt) -> None:
        """Reads one statement, those of this dialect among them."""
        match node:
            case ast.FunctionDef():
                self.scope[node.name] = _Function(node)
            case ast.ClassDef():
                self.scope[node.name] = Imported(f"{self.source}.{node.name}")
            case ast.Return():
                raise _Returned(None if node.value is None else self.value(node.value))
            case ast.Expr():
                described = self.value(node.value)
                if isinstance(described, dict) and TARGET in described and isinstance(node.value, ast.Call):
                    raise self.error(node, f"calls {described[TARGET]}, and a config is only read, never run")
            case _:
                super().statement(node)

    def import_from(self, node: ast.ImportFrom) -> None:
        """`from .module import name`: from a file or the zoo."""
        if node.level == 0:
            super().import_from(node)
            return
        names = _load_module(node.module or "", node.level, folder=self.folder, source=self.source, work=self.work)
        for alias in node.names:
            if alias.name not in names:
                raise self.error(node, f"{node.module} has no {alias.name}; it has {', '.join(names)}")
            self.scope[alias.asname or alias.name] = names[alias.name]

    def call(self, node: ast.Call) -> Any:
        """A call: of what this dialect gives a meaning, or of plain data."""
        if isinstance(node.func, ast.Name) and node.func.id in _MAKERS and node.func.id not in self.scope:
            raise self.error(node, f"{node.func.id} is not imported")
        if not isinstance(node.func, ast.Name | ast.Attribute | ast.Call):
            return super().call(node)
        if isinstance(node.func, ast.Name) and node.func.id not in self.scope:
            return super().call(node)
        if isinstance(node.func, ast.Attribute) and not self._is_imported(node.func):
            return super().call(node)
        callee = self.value(node.func)
        args, kwargs = self.arguments(node)
        if isinstance(callee, _Maker):
            return {TARGET: callee.target, **({"_args_": args} if args else {}), **kwargs}
        if isinstance(callee, _Function):
            return self._call_function(node, callee, args, kwargs)
        if isinstance(callee, Imported):
            return self._call_imported(node, callee, args, kwargs)
        return super().call(node)

    def _is_imported(self, node: ast.Attribute) -> bool:
        """Whether `a.b.c` is a name inside an imported module, and not a method of a value."""
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        return isinstance(root, ast.Name) and isinstance(self.scope.get(root.id), Imported)

    def _call_imported(self, node: ast.Call, callee: Imported, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if callee.name == "LazyCall":
            return _Maker(_target(node, self, args))
        if callee.path.endswith(_EMPTY):
            return self._copy(node, args[0]) if args and isinstance(args[0], dict) else dict(kwargs)
        if callee.name in ("deepcopy", "copy"):
            return self._copy(node, args[0]) if args else None
        if callee.name == "get_config" and args and isinstance(args[0], str):
            return self._zoo_file(node, args[0])
        return {TARGET: callee.path, **({"_args_": args} if args else {}), **kwargs}

    def _copy(self, node: ast.Call, value: Any) -> Any:
        return self.guarded(node, self.operations.copy, value)

    def _zoo_file(self, node: ast.Call, path: str) -> dict[str, Any]:
        self.work.count_base(self.source)
        module = zoo_module(path)
        if module is None:
            raise self.error(node, f"the zoo's file {path[:80]!r} is not known here; give its content in this file")
        return module

    def _call_function(self, node: ast.Call, function: _Function, args: list[Any], kwargs: dict[str, Any]) -> Any:
        self.step(node, len(self.scope) * POINTER)
        names = [argument.arg for argument in function.node.args.args]
        outer, given = dict(self.scope), dict(zip(names, args, strict=False)) | kwargs
        for argument, default in zip(reversed(names), reversed(function.node.args.defaults), strict=False):
            given.setdefault(argument, self.value(default))
        if set(given) != set(names) or len(args) > len(names):
            raise self.error(node, f"{function.node.name} takes {', '.join(names)}")
        self.depth += 5  # a function that calls itself must end before Python's own stack does
        try:
            self.scope.update(given)
            self.run(function.node.body)
        except _Returned as returned:
            return returned.value
        finally:
            self.depth -= 5
            self.scope = outer
        return None

    def _Lambda(self, node: ast.Lambda) -> Imported:  # noqa: N802
        """Kept as text: a norm given as a lambda is recognised by what it names."""
        self.step(node, 20)
        return Imported(self.written(node, most=300))


def read_lazy_text(text: str, *, source: str, folder: Path | None, work: Work) -> dict[str, Any]:
    """The names that a LazyConfig file defines, as plain data."""
    reader = LazyFile(source=source, folder=folder, work=work)
    try:
        reader.run(parse(text, source=source).body)
    except _Returned:
        raise ConfigError(f"{source}: return outside a function") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    work.check(list(reader.scope.values()), source=source)
    return {name: value for name, value in reader.scope.items() if not name.startswith("_")}


def _load_module(module: str, level: int, *, folder: Path | None, source: str, work: Work) -> dict[str, Any]:
    """The names of `from ..common.train import ...`: the file beside this one, else the zoo's by the same name."""
    if not module:
        raise ConfigError(f"{source}: imports from a folder; name the module, as in `from .common.train import train`")
    work.count_base(source)
    relative = Path(*[".."] * (level - 1), *module.split("."))
    path = (folder or Path()) / relative.with_suffix(".py")
    if work.has_base(path):
        with work.base(path, name=module, source=source) as (real, text):
            return read_lazy_text(text, source=str(real), folder=real.parent, work=work)
    fact = zoo_module(module.replace(".", "/") + ".py")
    if fact is None:
        raise ConfigError(f"{source}: {module} is imported from {path}, which is not there")
    return fact


def resolve_references(tree: dict[str, Any], *, source: str) -> dict[str, Any]:
    """`tree` with references such as "${..num_classes}" replaced by what they point at."""
    resolved: dict[str, Any] = _resolve(tree, [tree], tree, source, 0, count())
    return resolved


def _resolve(
    value: Any, parents: list[Any], root: dict[str, Any], source: str, hops: int, counter: "count[int]"
) -> Any:
    if next(counter) > MAX_SIZE:
        raise ConfigError(f"{source}: its references make more than {MAX_SIZE} values")
    if len(parents) > 80:
        raise ConfigError(f"{source}: nested too deeply, or a value that holds itself")
    if isinstance(value, dict):
        return {name: _resolve(item, [*parents, value], root, source, hops, counter) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_resolve(item, [*parents, value], root, source, hops, counter) for item in value]
    if isinstance(value, Imported):
        return value.path
    if not (isinstance(value, str) and value.startswith("${") and value.endswith("}")):
        return value
    if hops > 20:
        raise ConfigError(f"{source}: the reference {value} leads back to itself")
    path = value[2:-1]
    dots = len(path) - len(path.lstrip("."))
    if dots > len(parents) - 1:
        raise ConfigError(f"{source}: the reference {value} leads out of the config")
    trail = parents[: len(parents) - dots + 1] if dots else [root, root]
    for step in path.lstrip(".").split("."):
        here = trail[-1]
        key: Any = int(step) if isinstance(here, list | tuple) and step.isdigit() else step
        try:
            trail = [*trail, here[key]]
        except (KeyError, IndexError, TypeError):
            raise ConfigError(f"{source}: the reference {value} points at nothing") from None
    return _resolve(trail[-1], trail[:-1], root, source, hops + 1, counter)


def _target(node: ast.Call, reader: LazyFile, args: list[Any]) -> str:
    match args:
        case [Imported() as target]:
            return target.path
        case [_Function() as function]:
            return function.node.name
        case [str() as path]:
            return path
    raise reader.error(node, "LazyCall takes one class or function")
