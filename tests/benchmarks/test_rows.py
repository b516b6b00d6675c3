"""Which rows a benchmark of models has."""

import pytest

from benchmarks.rows import GPU_ROWS, ROWS, rows_for


@pytest.mark.parametrize("rows", [ROWS, GPU_ROWS])
def test_each_row_can_be_chosen_by_its_name(rows):
    assert len({row.name for row in rows}) == len(rows)


def test_a_gpu_has_rows_of_its_own():
    assert rows_for("cpu") == list(ROWS)
    assert rows_for("cuda") == list(GPU_ROWS)
    assert "int8" not in {row.precision for row in rows_for("cuda")}  # layers on bytes are for CPUs


def test_only_rows_whose_name_holds_the_words_are_chosen():
    assert rows_for("cuda", only="no such model") == []
    chosen = rows_for("cuda", only="Mask R-CNN R50-FPN, training, bf16")
    assert [row.batch for row in chosen] == [2, 8, 16]
