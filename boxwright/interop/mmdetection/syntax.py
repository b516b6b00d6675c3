"""mmdetection's Python, JSON and YAML configs as nested dictionaries, bases merged, without running anything."""

import ast
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from boxwright.errors import ConfigError
from boxwright.interop.texts.config_files import base_path
from boxwright.interop.texts.json_values import parse_settings
from boxwright.interop.texts.python_files import Imported, PythonFile
from boxwright.interop.texts.python_values import is_python, parse
from boxwright.interop.texts.work import Work

BASE, DELETE = "_base_", "_delete_"
_FROM_ENVIRONMENT = re.compile(r"\{\{['\"]?[ \t]*\$\w+[ \t]*:[ \t]*([^\s{}'\"]*)[ \t]*['\"]?\}\}")

Fact = Callable[[str, bool], dict[str, Any] | None]


class MmFile(PythonFile):
    """One file. `scope` starts with the merged bases under `_base_`."""

    def __init__(self, *, source: str, folder: Path | None, reader: "MmReader") -> None:
        super().__init__(source=source, scope={}, work=reader.work)
        self.folder = folder
        self.reader = reader
        self.inherited: dict[str, Any] = {}  # names that come from `with read_base()`

    def statement(self, node: ast.stmt) -> None:
        """Reads one statement, those of this dialect among them."""
        if isinstance(node, ast.Assign) and _is_base(node):
            return  # worked out before everything else
        if isinstance(node, ast.With):
            self.read_base(node)
        else:
            super().statement(node)

    def read_base(self, node: ast.With) -> None:
        """`with read_base(): from .._base_.models.x import *`, the newer way to name bases."""
        call = node.items[0].context_expr
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "read_base"):
            raise self.error(node, "only `with read_base():` is understood")
        for statement in node.body:
            if not isinstance(statement, ast.ImportFrom) or statement.module is None:
                raise self.error(statement, "inside read_base() only `from ... import ...` is understood")
            path = "../" * max(statement.level - 1, 0) + statement.module.replace(".", "/") + ".py"
            names = self.reader.load_base(path, source=self.source, folder=self.folder, is_old=False)
            wanted = [alias.name for alias in statement.names]
            for name in names if wanted == ["*"] else wanted:
                if name not in names:
                    raise self.error(statement, f"{statement.module} has no {name}")
                self.scope[name] = self.inherited[name] = names[name]

    def call(self, node: ast.Call) -> Any:
        """Copies and joined paths, which some files import functions for."""
        function = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        root: ast.expr = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        imported = self.scope.get(root.id) if isinstance(root, ast.Name) else None
        if not isinstance(imported, Imported):
            return super().call(node)
        if (function or imported.name) in ("deepcopy", "copy") and len(node.args) == 1:
            return self.guarded(node, self.operations.copy, self.value(node.args[0]))
        if (function or imported.name) == "join":
            return self.guarded(node, self.operations.join, [self.value(part) for part in node.args], "/")
        return super().call(node)

    def attribute(self, node: ast.Attribute, owner: Any) -> Any:
        """`owner.name`, where this dialect gives it a meaning."""
        if isinstance(owner, dict) and node.attr == "merge" and node.attr not in owner:
            raise self.error(node, "merge() is not understood; write the changes as a dictionary")
        return super().attribute(node, owner)

    def _Set(self, node: ast.Set) -> Any:  # noqa: N802
        """{{_base_.x}} is a set in a set to Python, and a reference to mmdetection."""
        if len(node.elts) == 1 and isinstance(node.elts[0], ast.Set) and len(node.elts[0].elts) == 1:
            return self.value(node.elts[0].elts[0])
        return super()._Set(node)


class MmReader:
    """Reads one config with its bases, which are files only where `path` is the file that the user named.

    `fact` gives the content of a well-known base that is not on disk.
    """

    def __init__(self, *, fact: Fact, path: Path | None) -> None:
        self.fact = fact
        self.work = Work(path)

    def read(self, text: str, *, source: str, folder: Path | None, is_old: bool | None = None) -> dict[str, Any]:
        """The settings of a file over those of its bases."""
        text = _substitute(text, source)
        if not is_python(text):
            return self._read_data(text, source=source, folder=folder)
        return self._read_python(text, source=source, folder=folder, is_old=is_old)

    def _read_python(self, text: str, *, source: str, folder: Path | None, is_old: bool | None) -> dict[str, Any]:
        tree = parse(text, source=source)
        file = MmFile(source=source, folder=folder, reader=self)
        old = _looks_old(tree) if is_old is None else is_old
        named = [node for node in tree.body if isinstance(node, ast.Assign) and _is_base(node)]
        try:
            names = file.value(named[-1].value) if named else []
            base = self.merge_bases(names, source=source, folder=folder, is_old=old)
            file.scope[BASE] = base
            file.run(tree.body)
        except RecursionError:
            raise ConfigError(f"{source}: nested too deeply") from None
        own = {name: value for name, value in file.scope.items() if name != BASE and not name.startswith("__")}
        for name in base.keys() & own.keys():
            if isinstance(own[name], Imported):
                raise ConfigError(f"{source}: {name} is {own[name].name}, which is code and no setting")
        self.work.check(list(file.scope.values()), source=source)
        own = {name: _plain(value, 0, source) for name, value in own.items() if not isinstance(value, Imported)}
        return merge(own, base, source=source)

    def _read_data(self, text: str, *, source: str, folder: Path | None) -> dict[str, Any]:
        content = parse_settings(text, source=source)
        self.work.check(content, source=source)
        is_old = "data" in content or "optimizer" in content
        base = self.merge_bases(content.pop(BASE, []), source=source, folder=folder, is_old=is_old)
        return merge(content, base, source=source)

    def merge_bases(self, bases: Any, *, source: str, folder: Path | None, is_old: bool) -> dict[str, Any]:
        """The settings of one base or of several, none of which may have a name of another."""
        names = [bases] if isinstance(bases, str) else bases
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{source}: {BASE} is a {type(bases).__name__}; expected a path or a list of paths")
        merged: dict[str, Any] = {}
        old = is_old or any(_is_old_name(name) for name in names)
        for name in names:
            content = self.load_base(name, source=source, folder=folder, is_old=old)
            twice = sorted(merged.keys() & content.keys())
            if twice:
                raise ConfigError(f"{source}: {', '.join(twice)} is in more than one of the bases {', '.join(names)}")
            merged |= content
        return merged

    def load_base(self, name: str, *, source: str, folder: Path | None, is_old: bool) -> dict[str, Any]:
        """The settings of one base: of a file where there is one, else of a well-known one of that name."""
        self.work.count_base(source)
        path = base_path(name, folder=folder)
        if "::" not in name and self.work.has_base(path):
            with self.work.base(path, name=name, source=source) as (real, text):
                return self.read(text, source=str(real), folder=real.parent)
        content = self.fact(name, is_old)
        if content is None:
            raise ConfigError(
                f"{source}: the base {name[:200]!r} is not {self.work.place(path)}; the files of _base_ and the plain "
                "models of mmdetection's zoo are known without a file"
            )
        return content


def merge(changes: Mapping[str, Any], base: Mapping[str, Any], *, source: str, path: str = "") -> dict[str, Any]:
    """`changes` over `base`, dictionary by dictionary; `_delete_=True` in one starts it afresh."""
    merged = dict(base)
    for name, value in changes.items():
        here = f"{path}{name}"
        if isinstance(value, Mapping) and name in base and not value.get(DELETE, False):
            if not isinstance(base[name], Mapping):
                kind = type(base[name]).__name__
                raise ConfigError(
                    f"{source}: {here} is a dictionary here and a {kind} in the base; _delete_=True starts it afresh"
                )
            merged[name] = merge(value, base[name], source=source, path=f"{here}.")
        else:
            merged[name] = _without_delete(value)
    return {name: value for name, value in merged.items() if name != DELETE}


def _without_delete(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_delete(item) for name, item in value.items() if name != DELETE}
    if isinstance(value, list | tuple):
        return type(value)(_without_delete(item) for item in value)
    return value


def _plain(value: Any, depth: int, source: str) -> Any:
    """Imported classes by their name, as `type=` strings have it."""
    if depth > 60:
        raise ConfigError(f"{source}: nested too deeply, or a value that holds itself")
    if isinstance(value, Imported):
        return value.name
    if isinstance(value, dict):
        return {str(name): _plain(item, depth + 1, source) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, depth + 1, source) for item in value)
    return value


def _is_base(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == BASE for target in node.targets)


def _looks_old(tree: ast.Module) -> bool:
    """Whether a file has the names that mmdetection 2 gave to data, optimiser and schedule."""
    names = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return bool(names & {"data", "optimizer", "optimizer_config", "lr_config", "runner", "total_epochs", "evaluation"})


def _is_old_name(name: str) -> bool:
    stem = PurePosixPath(name).stem
    return "_base_/models" in name and re.match(r"(faster|mask|cascade|cascade_mask|fast)_rcnn_", stem) is not None


def _substitute(text: str, source: str) -> str:
    """{{ fileDirname }} and its like in the text itself. Of {{$NAME:default}} the default is taken, on any machine."""
    if "{{" not in text:
        return text
    path = PurePosixPath(source.replace("\\", "/"))
    names = {
        "fileDirname": str(path.parent),
        "fileBasename": path.name,
        "fileBasenameNoExtension": path.stem,
        "fileExtname": path.suffix,
    }
    for name, value in names.items():
        text = re.sub(r"\{\{\s*" + name + r"\s*\}\}", lambda _, value=value: value, text)  # type: ignore[misc]
    return _FROM_ENVIRONMENT.sub(lambda match: match[1], text)
