"""What the verbs print: results on stdout, everything about the work on stderr."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import typer

from boxwright.errors import escaped, readable


def print_error(message: str) -> None:
    """One line on stderr that begins with "error:"."""
    typer.secho("error:", fg="red", bold=True, err=True, nl=False)
    print(f" {readable(message)}", file=sys.stderr)


def print_note(message: str) -> None:
    """A line about the work, for people: on stderr, so that stdout stays what a program may read."""
    print(escaped(message), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Plain values, indented, on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, rows: Sequence[Sequence[object]]) -> None:
    """A title and columns as wide as their contents; no line is wrapped or cut, on a terminal or in a log."""
    typer.secho(title, bold=True)
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(padded).rstrip())


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of `total` steps: a bar on a terminal, ten plain lines in a log."""
    if not sys.stderr.isatty():
        steps = count(1)
        yield lambda: print_tenth(what, next(steps), total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def print_tenth(what: str, done: int, total: int) -> None:
    """A note after each tenth of the way."""
    if done * 10 // total > (done - 1) * 10 // total:
        print_note(f"{what}: {done} of {total}")
