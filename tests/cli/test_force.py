"""Every verb that writes: what others made stays, what it reads stays, and its own former output is written anew."""

import json
from pathlib import Path

import pytest

from boxwright.cli.main import run
from boxwright.data.synth import generate

# The verb's words; OUT is a file that it writes, IN one that it reads.
WRITING = {
    "evaluate": ["evaluate", "IN", "--data", "data", "--save", "OUT"],
    "report": ["report", "IN", "--data", "data", "--out", "OUT"],
    "runs": ["runs", "folder", "--out", "OUT"],
    "convert config": ["convert", "config", "IN", "OUT"],
    "convert weights": ["convert", "weights", "IN", "OUT"],
    "data view": ["data", "view", "IN", "--out", "OUT"],
    "predict": ["predict", "IN", "--model", "m", "--json", "OUT"],
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("IN", "OUT"):
        Path(name).write_text(f"mine: {name}")
    return tmp_path


def told(words, capsys):
    code = run(words)
    return code, capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("verb", WRITING)
def test_a_file_that_somebody_made_stays(verb, capsys):
    assert told(WRITING[verb], capsys) == (
        1,
        "error: OUT is there already, and was not written by boxwright or was changed since; "
        "name another file, or give --force to replace it",
    )
    assert Path("OUT").read_text() == "mine: OUT"


@pytest.mark.parametrize("verb", [name for name, words in WRITING.items() if "IN" in words])
def test_what_a_verb_reads_stays_even_if_forced(verb, capsys):
    words = [word.replace("OUT", "./IN") for word in WRITING[verb]]
    message = "error: IN is read by this command and would be replaced; name another file"
    assert told([*words, "--force"], capsys) == (1, message)
    assert Path("IN").read_text() == "mine: IN"


@pytest.mark.parametrize("verb", WRITING)
def test_that_nothing_can_be_written_is_told_before_the_work(verb, capsys):
    words = [word.replace("OUT", "IN/OUT") for word in WRITING[verb]]
    code, message = told(words, capsys)
    assert code == 1
    assert message.startswith(("error: IN/OUT cannot be written: ", "error: nothing can be written to "))


FOLDERS = {
    "data convert": ["data", "convert", "data", "full", "--to", "voc"],
    "data check": ["data", "check", "data", "--fix", "full"],
    "data synth": ["data", "synth", "full", "--images", "2"],
    "data synth again": ["data", "synth", "full", "--images", "2", "--overwrite"],
    "data stats": ["data", "stats", "data", "--plots", "full"],
}


@pytest.mark.parametrize("verb", FOLDERS)
def test_folders_with_things_of_others_stay(verb, place, capsys):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    Path("full").mkdir()
    Path("full", "class_balance.png").write_text("mine")
    assert told(FOLDERS[verb], capsys)[0] == 1
    assert {path.name: path.read_text() for path in Path("full").iterdir()} == {"class_balance.png": "mine"}


def test_pictures_that_somebody_put_into_a_synthetic_set_stay(place, capsys):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    Path("data", "images", "mine.jpg").write_text("mine")
    code, message = told(["data", "synth", "data", "--images", "2", "--overwrite"], capsys)
    assert (code, message.split("; ")[0]) == (
        1,
        "error: data: holds something other than a synthetic set and is left alone",
    )
    assert Path("data", "images", "mine.jpg").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "config", "mask_rcnn_r18_fpn_gn.yaml", "new"],
        ["data", "view", "data", "--out", "new"],
        ["data", "stats", "data", "--plots", "new"],
    ],
)
def test_the_same_command_may_be_given_again(words, place, capsys):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    run(["config", "show", "mask_rcnn_r18_fpn_gn"])
    Path("mask_rcnn_r18_fpn_gn.yaml").write_text(capsys.readouterr().out)
    assert run(words) == 0
    assert run(words) == 0


def test_a_forced_file_is_replaced_and_known_from_then_on(place):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    words = ["data", "view", "data", "--out", "OUT"]
    assert [run(words), run([*words, "--force"]), run(words)] == [1, 0, 0]
    assert Path("OUT").read_text().startswith("<!doctype html>")


def test_an_annotation_file_is_not_written_over_by_detections(place, capsys):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    before = json.loads(Path("data", "val.json").read_text())
    words = ["evaluate", "model", "--data", "data", "--save", "data/val.json", "--force"]
    code, message = told(words, capsys)
    assert (code, "which is read by this command" in message) == (1, True)
    assert json.loads(Path("data", "val.json").read_text()) == before


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "metrics.jsonl"])
def test_a_training_begins_in_no_folder_with_files_of_others(name, place, capsys):
    generate(place / "data", kind="shapes", images=4, size=64, seed=0)
    Path("full").mkdir()
    Path("full", name).write_text("mine")
    words = ["train", "mask_rcnn_r18_fpn_gn", "--data", "data", "--out", "full", "--device", "cpu"]
    message = f"error: full/{name} is there already, and no run has made it; give another folder"
    assert told(words, capsys) == (1, message)
    assert [path.read_text() for path in Path("full").iterdir()] == ["mine"]
