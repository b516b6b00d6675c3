"""Config files written in Python, statement by statement: assignments and the changes people make to dictionaries.

What a name bound by an import stands for is never looked up: it is an `Imported`, a name to compare with names.
"""

import ast
from dataclasses import dataclass
from typing import Any

from boxwright.interop.texts.python_values import PythonValues
from boxwright.interop.texts.work import CHARACTER


@dataclass(frozen=True, slots=True)
class Imported:
    """Something from a module, by name only: `detectron2.modeling.FPN`, or the text of a lambda."""

    path: str

    @property
    def name(self) -> str:
        """The last word: of a class, its own name."""
        return self.path.rpartition(".")[2]


class PythonFile(PythonValues):
    """Reads the statements of one file into `scope`. Subclasses say what imports mean."""

    def run(self, body: list[ast.stmt]) -> None:
        """Reads one statement after the other."""
        for statement in body:
            self.step(statement)
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """Reads one statement into `scope`."""
        match node:
            case ast.Assign():
                value = self.value(node.value)
                for target in node.targets:
                    self.bind(target, value)
            case ast.AnnAssign() if node.value is not None:
                self.bind(node.target, self.value(node.value))
            case ast.AugAssign():
                combined = ast.BinOp(left=node.target, op=node.op, right=node.value)
                self.bind(node.target, self.value(ast.copy_location(combined, node)))
            case ast.Delete():
                for target in node.targets:
                    self.delete(target)
            case ast.Expr():
                self.value(node.value)
            case ast.If():
                self.run(node.body if self.value(node.test) else node.orelse)
            case ast.Import():
                for alias in node.names:
                    self.import_module(node, alias)
            case ast.ImportFrom():
                self.import_from(node)
            case ast.Pass():
                pass
            case _:
                self.value(node)  # raises, naming the statement

    def bind(self, target: ast.expr, value: Any) -> None:
        """Assigns to a name, to an attribute or to a place in a list or dictionary."""
        match target:
            case ast.Attribute():
                owner = self.value(target.value)
                if not isinstance(owner, dict):
                    raise self.error(target, f"{self.written(target.value)} is not a dictionary")
                self.guarded(target, self.operations.set_item, owner, target.attr, value)
            case ast.Subscript():
                owner = self.value(target.value)
                if not isinstance(owner, dict | list):
                    raise self.error(target, f"{self.written(target.value)} cannot be changed")
                self.guarded(target, self.operations.set_item, owner, self.value(target.slice), value)
            case _:
                super().bind(target, value)

    def delete(self, target: ast.expr) -> None:
        """`del target`."""
        match target:
            case ast.Name() if target.id in self.scope:
                del self.scope[target.id]
            case ast.Attribute() if isinstance(owner := self.value(target.value), dict) and target.attr in owner:
                del owner[target.attr]
            case ast.Subscript() if isinstance(owner := self.value(target.value), dict | list):
                self.guarded(target, self.operations.delete_item, owner, self.value(target.slice))
            case _:
                raise self.error(target, f"{self.written(target)} does not exist, so it cannot be deleted")

    def import_module(self, node: ast.Import, alias: ast.alias) -> None:
        """`import a.b` or `import a.b as c`."""
        self.scope[alias.asname or alias.name.partition(".")[0]] = Imported(
            alias.name if alias.asname else alias.name.partition(".")[0]
        )

    def import_from(self, node: ast.ImportFrom) -> None:
        """`from a import b, c`."""
        for alias in node.names:
            if alias.name == "*":
                raise self.error(node, f"imports every name of {node.module}; name those that are needed")
            self.scope[alias.asname or alias.name] = Imported(f"{'.' * node.level}{node.module or ''}.{alias.name}")

    def attribute(self, node: ast.Attribute, owner: Any) -> Any:
        """`owner.name`, where this dialect gives it a meaning."""
        if not isinstance(owner, Imported):
            return super().attribute(node, owner)
        self.step(node, len(owner.path) * CHARACTER)
        return Imported(f"{owner.path}.{node.attr}")
