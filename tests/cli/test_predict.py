"""`boxwright predict`: pictures and COCO JSON from files, folders and patterns."""

import json
import os

import pytest
from PIL import Image

import boxwright as bw
from boxwright.cli import predict as verb
from boxwright.cli.main import run
from boxwright.data import image

TINY = (
    *("model.input.resize.short_test=64", "model.neck.channels=16", "model.box_head.features.convs=[16]"),
    *("model.box_head.features.fcs=[16]", "model.mask_head.convs=[16]", "model.mask_head.upsample_channels=16"),
    "test.score_threshold=0.0",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    bw.save(bw.load("mask_rcnn_r18_fpn_gn", overrides=TINY, device="cpu"), path)
    return str(path)


@pytest.fixture
def photos(tmp_path):
    for name, size in (("a/one.png", (64, 48)), ("b/one.jpg", (40, 64)), ("b/two.jpg", (64, 64))):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, "grey").save(path)
    return tmp_path / "photos"


def test_every_picture_is_drawn_and_every_detection_written(model, photos, tmp_path, capsys):
    out, results = tmp_path / "found", tmp_path / "found.json"
    arguments = [
        "predict",
        str(photos),
        "--model",
        model,
        "--out",
        str(out),
        "--json",
        str(results),
        "--threshold",
        "0",
    ]
    assert run(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == ["one-2.jpg", "one.jpg", "two.jpg"]
    records = json.loads(results.read_text())
    assert {record["image_id"] for record in records} == {str(path) for path in photos.rglob("*.*g")}
    assert {"bbox", "score", "category_id", "segmentation"} <= records[0].keys()
    assert f"{len(records)} objects in 3 images" in capsys.readouterr().err


def test_a_pattern_takes_what_it_matches(model, photos, tmp_path):
    out = tmp_path / "found"
    assert run(["predict", str(photos / "b" / "*.jpg"), "--model", model, "--out", str(out)]) == 0
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", "missing.jpg: no such file, folder or pattern"),
        ("*.tiff", "*.tiff: no such file, folder or pattern"),
        (".", ".: no pictures in this folder (.bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp)"),
    ],
)
def test_what_is_not_there_is_one_line(source, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["predict", source, "--model", "mask_rcnn_r18_fpn_gn", "--out", "found"]) == 1
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_file_that_is_no_picture_is_named(model, tmp_path, capsys):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"not a picture")
    assert run(["predict", str(path), "--model", model, "--out", str(tmp_path / "found")]) == 1
    assert str(path) in capsys.readouterr().err.splitlines()[-1]


def test_int8_is_calibrated_on_the_pictures(model, photos, tmp_path, capsys):
    results = tmp_path / "found.json"
    assert run(["predict", str(photos), "--model", model, "--json", str(results), "--precision", "int8"]) == 0
    assert "layers, calibrated on 3 images" in capsys.readouterr().err
    assert isinstance(json.loads(results.read_text()), list)


def test_pictures_that_cannot_be_read_are_named_and_the_others_go_on(model, photos, tmp_path, capsys):
    results = tmp_path / "found.json"
    (photos / "b" / "broken.jpg").write_bytes(b"not a picture")
    os.mkfifo(photos / "b" / "pipe.jpg")
    command = ["predict", str(photos), "--model", model, "--json", str(results), "--threshold", "0"]
    assert run([*command, "--out", str(tmp_path / "found")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(
        line.startswith(f"left out: {photos}/b/broken.jpg cannot be decoded: its content is none") for line in lines
    )
    assert f"left out: {photos}/b/pipe.jpg is a pipe and not a regular file" in lines
    assert lines[-1] == f"error: 2 of 5 pictures could not be read: {photos}/b/broken.jpg, {photos}/b/pipe.jpg"
    assert {record["image_id"] for record in json.loads(results.read_text())} == {
        str(photos / name) for name in ("a/one.png", "b/one.jpg", "b/two.jpg")
    }
    assert sorted(os.listdir(tmp_path / "found")) == ["one-2.jpg", "one.jpg", "two.jpg"]
    assert run([*command, "--skip-bad"]) == 0
    assert run([*command, "--skip-bad", "--precision", "int8"]) == 0


def test_after_an_interruption_the_json_is_whole(model, photos, tmp_path, monkeypatch, capsys):
    def load_image(path):
        if path.endswith("two.jpg"):
            raise KeyboardInterrupt
        return image.load_image(path)

    monkeypatch.setattr(verb, "_load", load_image)
    results = tmp_path / "found.json"
    command = ["predict", str(photos), "--model", model, "--json", str(results), "--threshold", "0", "--batch", "1"]
    assert run(command) == 130
    assert {record["image_id"] for record in json.loads(results.read_text())} == {
        str(photos / "a" / "one.png"),
        str(photos / "b" / "one.jpg"),
    }
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted after 2 of 3 images"


def test_the_same_command_runs_again_and_looks_at_the_same_pictures(model, photos, tmp_path, capsys):
    command = [
        "predict",
        str(photos),
        "--model",
        model,
        "--out",
        str(photos / "found"),
        "--json",
        str(photos / "f.json"),
    ]
    for _ in range(2):
        assert run(command) == 0
        said = capsys.readouterr().err
        assert f"in 3 images; pictures in {photos / 'found'}" in said
    assert f"pictures whose names are equal get a number: {photos}/b/one.jpg as one-2.jpg" in said.splitlines()


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(("source", "out"), [("b", "b"), ("b/two.jpg", "b"), ("b/*.jpg", "a/../b")])
def test_originals_are_never_drawn_over(source, out, force, model, photos, capsys):
    before = {path: path.read_bytes() for path in photos.rglob("*.*g")}
    command = ["predict", str(photos / source), "--model", model, "--out", str(photos / out), *force]
    assert run(command) == 1
    assert "is read by this command and would be replaced; name another file" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in photos.rglob("*.*g")} == before


def test_longest_names_are_drawn(model, tmp_path):
    for stem in ("x" * 250, "x" * 249 + "y"):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{stem}.bmp")
        Image.new("RGB", (64, 48)).save(tmp_path / f"{stem}.png")
    assert run(["predict", str(tmp_path), "--model", model, "--out", str(tmp_path / "found")]) == 0
    assert len(list((tmp_path / "found").iterdir())) == 4


def test_detections_go_to_standard_output(model, photos, capfd):
    assert run(["predict", str(photos), "--model", model, "--json", "/dev/stdout", "--threshold", "0"]) == 0
    assert len(json.loads(capfd.readouterr().out)) > 0
