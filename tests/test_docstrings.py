"""Every public name says what it is, and the functions of the public contract show how they are called."""

import ast
import inspect
import textwrap
from pathlib import Path

import pytest

import boxwright as bw

PACKAGE = Path(bw.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = [name for name in bw.__all__ if inspect.isfunction(getattr(bw, name))]


def undocumented(body, prefix=""):
    """Public classes, functions and methods without a docstring; overloads stand beside the one that counts."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
            continue
        if ast.get_docstring(node) is None:
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.")


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_every_public_name_has_a_docstring(path):
    module = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(module) or not module.body
    assert list(undocumented(module.body)) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_contract_has_an_example_that_its_signature_allows(name):
    text = textwrap.dedent(inspect.getdoc(getattr(bw, name)).rpartition("\n\n")[2])
    calls = [node for node in ast.walk(ast.parse(textwrap.dedent(text))) if isinstance(node, ast.Call)]
    ours = [call for call in calls if ast.unparse(call.func).startswith("bw.")]
    assert f"bw.{name}" in [ast.unparse(call.func) for call in ours]
    for call in ours:
        function = getattr(bw, ast.unparse(call.func).removeprefix("bw."))
        inspect.signature(function).bind(*call.args, **{keyword.arg: keyword.value for keyword in call.keywords})
