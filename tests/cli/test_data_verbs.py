"""`boxwright data check | convert | stats | view`: what they print, JSON, exit codes, errors of one line."""

import json
import re

import pytest

from boxwright.cli.main import run
from boxwright.data.synth import generate


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shapes(tmp_path):
    generate(tmp_path / "set", kind="shapes", images=4, seed=0, size=64, val_fraction=0.5)
    return tmp_path / "set"


def spoil(folder):
    """A box outside, a picture that is gone."""
    content = json.loads((folder / "train.json").read_text())
    content["annotations"][0] |= {"bbox": [60, 60, 20, 20], "segmentation": []}
    (folder / "train.json").write_text(json.dumps(content))
    (folder / "images" / "000002.jpg").unlink()


def test_a_clean_set_is_exit_code_0(shapes, capsys):
    code = run(["data", "check", str(shapes)])
    printed = capsys.readouterr()
    assert printed.out.startswith("Splits\n  train  2 images")
    assert code == 0, printed.out
    assert printed.err.splitlines()[-1] == "looking at the pictures: 4 of 4"


def test_what_is_found_is_counted_shown_and_exit_code_1(shapes, capsys):
    spoil(shapes)
    assert run(["data", "check", str(shapes)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^  1 +outside_box +box that leaves the image$", out, re.MULTILINE)
    assert re.search(r"^  1 +missing_image +image file that does not exist$", out, re.MULTILINE)
    assert "000001.jpg: object[0] (id 1000)" in out


def test_the_report_as_json(shapes, capsys):
    spoil(shapes)
    assert run(["data", "check", str(shapes), "--json", "--examples", "1"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["clean"] is False
    assert report["problems"]["missing_image"]["count"] == 1
    assert len(report["problems"]["outside_box"]["examples"]) == 1


def test_a_repaired_copy_is_exit_code_0_and_clean(shapes, tmp_path, capsys):
    spoil(shapes)
    before = (shapes / "train.json").read_bytes()
    assert run(["data", "check", str(shapes), "--fix", str(tmp_path / "fixed")]) == 0
    assert re.search(r"^  outside_box +repaired +1$", capsys.readouterr().out, re.MULTILINE)
    assert (shapes / "train.json").read_bytes() == before
    assert run(["data", "check", str(tmp_path / "fixed")]) == 0


def test_convert_says_what_was_written_and_lost(shapes, tmp_path, capsys):
    assert run(["data", "convert", str(shapes), str(tmp_path / "voc"), "--to", "voc"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path}/voc: ")
    assert "masks (VOC's XML has boxes only)" in out
    assert run(["data", "convert", str(tmp_path / "voc"), str(tmp_path / "coco"), "--to", "coco", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 2, "val": 2}


def test_stats_as_table_and_json(shapes, capsys):
    assert run(["data", "stats", str(shapes), "--config", "faster_rcnn_r50_fpn"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("train\n  images ")
    assert "median best IoU" in out
    assert run(["data", "stats", str(shapes), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["val"]["images"] == 2


def test_view_writes_one_page(shapes, tmp_path, capsys):
    out = tmp_path / "view.html"
    assert run(["data", "view", str(shapes), "--split", "val", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "images": 2, "bytes": out.stat().st_size}


VERBS = [["check"], ["stats"], ["view"], ["convert", "OUT", "--to", "coco"]]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb[0])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "is neither a folder, a file nor a known data set such as coco_2017_val"),
        ("empty", "no known data layout. Known are images/ with train.json and val.json"),
        ("broken", "is not JSON: Expecting property name enclosed in double quotes"),
        ("list", "holds a list; expected a COCO object with images, annotations and categories"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(verb, name, message, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder, text in (("broken", "{"), ("list", "[]")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.json").write_text(text)
    rest = [str(tmp_path / "out") if word == "OUT" else word for word in verb[1:]]
    assert run(["data", verb[0], str(tmp_path / name), *rest]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {tmp_path / name}")
    assert message in printed.err
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS[1:], ids=lambda verb: verb[0])
@pytest.mark.parametrize("name", ["category_id", "image_id"])
def test_objects_of_classes_or_images_that_are_not_listed_are_one_line(verb, name, shapes, tmp_path, capsys):
    """What is left of the set would pass for the whole of it."""
    content = json.loads((shapes / "train.json").read_text())
    for entry in content["annotations"][1:3]:
        entry[name] = 999
    (shapes / "train.json").write_text(json.dumps(content))
    rest = [str(tmp_path / "out") if word == "OUT" else word for word in verb[1:]]
    assert run(["data", verb[0], str(shapes), *rest]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1] == (
        f"error: {shapes}/train.json: objects that name a class or an image which is not listed: 2, first: "
        f"annotations[1] (id 1001): {name} is 999. `boxwright data check` lists them all, and its --fix OUT "
        "writes a copy without them"
    )
    assert not (tmp_path / "out").exists()
    assert run(["data", "check", str(shapes), "--fix", str(tmp_path / "fixed")]) == 0
    assert run(["data", "stats", str(tmp_path / "fixed")]) == 0


def test_several_sets_are_one(shapes, tmp_path, capsys):
    generate(tmp_path / "more", kind="shapes", images=2, seed=1, size=64, val_fraction=0.0)
    both = f"{shapes},{tmp_path / 'more'}"
    assert run(["data", "stats", both, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["train"]["images"] == 4
    assert run(["data", "check", both, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"]["train"]["images"] == 4
    assert run(["data", "convert", both, str(tmp_path / "out"), "--to", "yolo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 4, "val": 2}


def test_a_class_that_is_not_there_is_named(shapes, tmp_path, capsys):
    assert run(["data", "view", str(shapes), "--name", "cow", "--out", str(tmp_path / "x.html")]) == 1
    assert "has no class 'cow'; it has circle, square" in capsys.readouterr().err


def test_a_full_folder_is_not_written_into(shapes, capsys):
    assert run(["data", "convert", str(shapes), str(shapes), "--to", "yolo"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {shapes} exists and is not an empty folder; name a new one"
    )
