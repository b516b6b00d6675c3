"""How the rows of a benchmark are measured and kept, whatever happens to one of them."""

from dataclasses import dataclass

import pytest

from benchmarks import table
from benchmarks.table import LeftOutError, append_rows, measure_rows


@dataclass(frozen=True)
class Row:
    name: str


ROWS = [Row("first"), Row("second"), Row("third")]


def named(row):
    return {"what": row.name}


def failing(error):
    def measure(row):
        if row.name == "second":
            raise error
        return named(row)

    return measure


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS])
def test_every_row_is_kept_in_order(rows):
    kept = []
    assert measure_rows(rows, named, kept.append)
    assert kept == [named(row) for row in rows]


def test_a_row_that_fails_says_why_in_a_line_and_the_others_go_on(capsys):
    kept = []
    assert not measure_rows(ROWS, failing(RuntimeError("out of memory\nTried to allocate 3 GiB")), kept.append)
    assert kept == [named(ROWS[0]), named(ROWS[2])]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("second: failed, RuntimeError: out of memory Tried to allocate 3 GiB (test_table.py:")


def test_a_row_that_cannot_be_measured_here_is_no_failure(capsys):
    kept = []
    assert measure_rows(ROWS, failing(LeftOutError("Detectron2 cannot be imported")), kept.append)
    assert len(kept) == 2
    assert capsys.readouterr().out == "second: left out, Detectron2 cannot be imported\n"


def test_no_row_is_begun_when_the_time_is_over(monkeypatch, capsys):
    clock = iter([0.0, 0.0, 7.0, 14.0])  # at the start, and before each row
    monkeypatch.setattr(table.time, "monotonic", lambda: next(clock))
    kept = []
    assert measure_rows(ROWS, named, kept.append, limit=7)
    assert kept == [named(ROWS[0])]
    assert capsys.readouterr().out == "7 s are over; not begun: second; third\n"


def test_a_row_is_in_the_file_before_the_next_begins(tmp_path):
    path, seen = tmp_path / "rows.csv", []

    def measure(row):
        seen.append(path.read_text().splitlines()[1:] if path.exists() else [])
        return named(row)

    def keep(row):
        append_rows([row], path, ("what", "date", "machine", "threads", "versions"), threads=1, versions={"torch": "2"})

    measure_rows(ROWS, measure, keep)
    assert [[line.partition(",")[0] for line in lines] for lines in seen] == [[], ["first"], ["first", "second"]]
