"""Progress in a log, tables."""

import json

import pytest

from boxwright.cli.console import print_error, print_json, print_table, progress


@pytest.mark.parametrize(
    ("total", "lines"),
    [
        (0, []),
        (1, ["drawing: 1 of 1"]),
        (3, ["drawing: 1 of 3", "drawing: 2 of 3", "drawing: 3 of 3"]),
        (1000, [f"drawing: {done} of 1000" for done in range(100, 1001, 100)]),
    ],
)
def test_progress_in_a_log_is_at_most_ten_lines(total, lines, capsys):
    with progress("drawing", total) as advance:
        for _ in range(total):
            advance()
    printed = capsys.readouterr()
    assert printed.err.splitlines() == lines
    assert printed.out == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress("drawing", 2) as advance:
        advance()
        advance()
    assert "2/2" in capsys.readouterr().err


def test_a_table_aligns_its_columns_and_has_no_trailing_blanks(capsys):
    print_table("Title", [("a", 1), ("long name", None)])
    assert capsys.readouterr().out == "Title\n  a          1\n  long name  None\n"


def test_a_table_without_rows_is_its_title(capsys):
    print_table("Title", [])
    assert capsys.readouterr().out == "Title\n"


def test_json_keeps_names_readable(capsys):
    print_json({"name": "Zürich"})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"name": "Zürich"}
    assert "ü" in printed


def test_an_error_goes_to_stderr_without_colour_where_there_is_no_terminal(capsys):
    print_error("two\n  lines")
    assert capsys.readouterr() == ("", "error: two\n  lines\n")
