"""`boxwright report`: from results or a run to one page; bad input is one line."""

import json

import pytest

from boxwright.cli.main import run
from boxwright.config.load import dump
from boxwright.data import synth
from boxwright.data.formats.reading import read_dataset
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load_config, save


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    synth.generate(folder, kind="shapes", images=4, seed=2, size=96, val_fraction=0.5)
    content = json.loads((folder / "val.json").read_text())
    found = [
        {name: a[name] for name in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in content["annotations"]
        if not a["iscrowd"]
    ]
    (folder / "results.json").write_text(json.dumps(found[1:]))
    return folder


def report(capsys, *arguments):
    code = run(["report", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_results_become_a_page(made, capsys, tmp_path):
    page = tmp_path / "page.html"
    given = (made / "results.json", "--data", made, "--out", page, "--resamples", 10)
    code, out, _ = report(capsys, *given, "--json")
    assert code == 0
    written = json.loads(out)
    assert written["bytes"] == page.stat().st_size
    assert 0.5 < written["figures"]["box"]["ap"] < 1
    code, out, _ = report(capsys, *given, "--title", "All about it", "--compare", made / "results.json")
    assert out.startswith(f"{page}: box, ")
    assert "<title>All about it</title>" in page.read_text()
    assert "data:image/jpeg;base64," in page.read_text()


def test_a_run_is_measured_once_and_its_losses_are_shown(made, capsys, tmp_path):
    run_folder, page = tmp_path / "run", tmp_path / "page.html"
    run_folder.mkdir()
    names = list(read_dataset(made, split="val", use_index=False).class_names)
    changes = ["model.input.resize.short_test=64", "model.input.resize.long_test=64", f"data.train={made}"]
    config = load_config("mask_rcnn_r18_fpn_gn").with_(*changes, "test.max_detections=3", "test.score_threshold=0")
    model = config.model.with_(num_classes=len(names), class_names=names)
    config = config.with_(model=model)
    (run_folder / "config.yaml").write_text(dump(config))
    (run_folder / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "loss": 2.5}\n')
    save(Detector(config=config), run_folder / "best.safetensors")
    given = (run_folder, "--out", page, "--device", "cpu", "--resamples", 5)
    code, _, err = report(capsys, *given)
    assert code == 0
    assert "finding objects: 2 of 2" in err
    assert '"train: loss":[[1],[2.5]]' in page.read_text()
    assert "<title>run</title>" in page.read_text()
    assert json.loads((run_folder / "detections.json").read_text())
    assert report(capsys, *given)[2] == ""  # what was found is found once


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["results.json"], 2, "say what the detections are compared with: --data val.json"),
        (["none.json", "--data", "val.json"], 1, "none.json does not exist"),
        (["results.json", "--data", "none"], 1, "none is neither a folder, a file nor a known data set"),
        (["val.json", "--data", "val.json"], 1, "these are annotations, not results"),
        (["images"], 1, "images has no config.yaml to say what it was validated on; give --data"),
        (["images", "--data", "val.json"], 1, "images holds neither best.safetensors, model.safetensors nor"),
        (["results.json", "--data", "val.json", "--images", "none"], 1, "none is no folder of pictures"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(made, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(made)
    found, out, err = report(capsys, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert len(err.splitlines()) == 1
