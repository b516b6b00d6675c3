"""`boxwright runs`: trainings side by side."""

import json

import pytest

from boxwright.cli.main import run
from boxwright.config import dump, load_config


@pytest.fixture
def two_runs(tmp_path):
    for name, rate, aps in (("slow", 0.001, (0.1, 0.2)), ("fast", 0.01, (0.3, 0.25))):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        config = load_config("mask_rcnn_r18_fpn_gn", [f"train.lr={rate}", "train.schedule.max_steps=200"])
        (folder / "config.yaml").write_text(dump(config))
        rows = [{"kind": "train", "step": step, "loss": 3.0 - step / 100, "rate": rate} for step in (50, 100)]
        rows += [{"kind": "val", "step": step, "mask.ap": ap} for step, ap in zip((50, 100), aps, strict=True)]
        lines = "".join(json.dumps(row) + "\n" for row in sorted(rows, key=lambda row: row["step"]))
        (folder / "metrics.jsonl").write_text(lines + '{"kind": "train", "st')  # cut by a crash
    return tmp_path / "runs"


def test_runs_are_compared_by_their_best_and_by_what_differs(two_runs, capsys):
    assert run(["runs", str(two_runs)]) == 0
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines() if str(two_runs) in line] == [
        [str(two_runs / "fast"), "100/200", "2.000", "0.300", "at", "50"],
        [str(two_runs / "slow"), "100/200", "2.000", "0.200", "at", "100"],
    ]
    assert ["train.lr", "0.01", "0.001"] in [line.split() for line in printed.splitlines()]


def test_json_and_the_page_hold_the_same_runs(two_runs, tmp_path, capsys):
    page = tmp_path / "curves.html"
    assert run(["runs", str(two_runs / "fast"), str(two_runs / "slow"), "--json", "--out", str(page)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["differences"] == {"train.lr": [0.01, 0.001]}
    assert content["runs"][0]["best"] == {"mask.ap": {"value": 0.3, "step": 50}}
    text = page.read_text()
    assert text.count("<polyline") == 6  # two runs in each of: loss, rate, mask AP
    assert "Box AP" not in text


def test_a_folder_without_runs_is_one_line(tmp_path, capsys):
    assert run(["runs", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: neither a run nor a folder of runs; a run has config.yaml and metrics.jsonl\n"
    )
