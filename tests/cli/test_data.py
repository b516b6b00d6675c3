"""`boxwright data synth`, through the command line."""

import json
from typing import get_args

import pytest

from boxwright.cli.data import Scenes
from boxwright.cli.main import run
from boxwright.data.synth import KINDS


def test_the_kinds_of_the_command_are_those_of_the_library():
    assert get_args(Scenes) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_synth_writes_the_set_and_says_what(kind, tmp_path, capsys):
    out = tmp_path / "set"
    assert run(["data", "synth", str(out), "--kind", kind, "--images", "5", "--size", "96"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: 4 train and 1 val images\n")
    assert printed.err.splitlines()[-1] == f"drawing {kind}: 5 of 5"
    assert len(list((out / "images").iterdir())) == 5
    assert json.loads((out / "train.json").read_text())["info"]["seed"] == 0


def test_json_is_all_there_is_on_stdout(tmp_path, capsys):
    arguments = [
        "data",
        "synth",
        str(tmp_path / "set"),
        "--images",
        "2",
        "--size",
        "64",
        "--val-fraction",
        "0.5",
        "--json",
    ]
    assert run(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["num_train"], summary["num_val"], summary["kind"]) == (1, 1, "shapes")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--images", "0"], 1, "images 0: expected at least 1"),
        (["--images", "many"], 2, None),
        (["--kind", "cats"], 2, None),
        (["--size", "8"], 1, "size 8: expected at least 32 pixels"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, code, message, tmp_path, capsys):
    assert run(["data", "synth", str(tmp_path / "set"), *arguments]) == code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.startswith("error: ")
    if message:
        assert printed == f"error: {message}\n"


def test_a_full_folder_is_named(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    assert run(["data", "synth", str(tmp_path), "--images", "1"]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}: is not empty; give another folder, or --overwrite to replace a synthetic set there\n"
    )
