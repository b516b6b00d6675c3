"""The map of the code in docs/architecture.md leads to what is there, and leaves no package out."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def table():
    """The rows of modules and tests as two lists of paths."""
    rows = PAGE.partition("| module | what it does | its tests |\n")[2].partition("\n\n")[0].splitlines()[1:]
    cells = [row.strip("|").split(" | ") for row in rows]
    return [(paths(first), paths(last)) for first, _, last in cells]


def paths(cell):
    return re.findall(r"`([^`]+)`", cell)


def is_there(path):
    """A folder is written with a slash at its end, a file without."""
    return (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_every_path_of_the_table_exists():
    rows = table()
    assert len(rows) > 30
    assert [path for row in rows for paths_of_row in row for path in paths_of_row if not is_there(path)] == []


def test_every_package_is_in_the_table():
    named = {path for modules, _ in table() for path in modules}
    packages = {file.parent.relative_to(ROOT).as_posix() + "/" for file in (ROOT / "boxwright").rglob("*.py")}
    assert packages - {"boxwright/"} - named == set()


def test_every_module_of_the_picture_exists():
    picture = PAGE.partition("```mermaid\n")[2].partition("```")[0]
    named = re.findall(r"(?:\w+/)+(?:\w+\.py)?|postprocess\.py", picture)
    assert len(named) > 12
    assert [module for module in named if not (ROOT / "boxwright" / module).exists()] == []
