"""`boxwright predict`: pictures and COCO JSON from files, folders and patterns."""

import json

import pytest
from PIL import Image

import boxwright as bw
from boxwright.cli.main import run

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
