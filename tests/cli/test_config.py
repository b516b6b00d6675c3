"""`boxwright config list | show | schema | diff`, through the command line."""

import json

import pytest

from boxwright.cli.main import run
from boxwright.config import load_config, preset_names

PRESET = "mask_rcnn_r50_fpn"


def test_list_prints_one_preset_a_line(capsys):
    assert run(["config", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == list(preset_names())
    assert run(["config", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == list(preset_names())


def test_show_prints_a_file_that_loads_to_the_same_settings(tmp_path, capsys):
    assert run(["config", "show", PRESET, "test.score_threshold=0.125"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_config(path) == load_config(PRESET, ["test.score_threshold=0.125"])
    assert run(["config", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["score_threshold"] == 0.125


def test_schema_is_a_json_schema(capsys):
    assert run(["config", "schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


def test_diff_names_what_differs_and_nothing_else(tmp_path, capsys):
    assert run(["config", "show", PRESET, "test.score_threshold=0.125"]) == 0
    path = tmp_path / "mine.yaml"
    path.write_text(capsys.readouterr().out)
    before = load_config(PRESET).test.score_threshold
    assert run(["config", "diff", PRESET, str(path)]) == 0
    assert capsys.readouterr().out == f"test.score_threshold: {before} -> 0.125\n"
    assert run(["config", "diff", PRESET, str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"path": "test.score_threshold", "a": before, "b": 0.125}]


def test_diff_reads_the_config_of_another_program(tmp_path, capsys):
    path = tmp_path / "theirs.yaml"
    path.write_text(
        "_BASE_: ../Base-RCNN-FPN.yaml\nMODEL: {PIXEL_STD: [57, 57, 58]}\nTEST: {DETECTIONS_PER_IMAGE: 300}\n"
    )
    assert run(["config", "diff", PRESET, str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "model.input.std: [1.0, 1.0, 1.0] -> [57.0, 57.0, 58.0]" in lines
    assert "test.max_detections: 100 -> 300" in lines


def test_equal_settings_have_no_differences(capsys):
    assert run(["config", "diff", PRESET, PRESET]) == 0
    assert capsys.readouterr().out == "no differences\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "no_such_preset"],
        ["show", PRESET, "test.no_such_key=1"],
        ["show", PRESET, "nonsense"],
        ["diff", PRESET, "x"],
    ],
)
def test_a_mistake_goes_to_stderr_and_exits_with_1(arguments, capsys):
    assert run(["config", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "Traceback" not in printed.err
    assert arguments[-1].split("=")[0].split(".")[-1] in printed.err
