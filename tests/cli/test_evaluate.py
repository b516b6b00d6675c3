"""`boxwright evaluate`: official figures on stdout in three forms, studies on request, one line for bad input."""

import csv
import io
import json

import pytest

from boxwright.cli.main import run
from boxwright.data import synth


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Annotations of 12 images, and two runs: one finds each object a little off, the other misses every third."""
    folder = tmp_path_factory.mktemp("made")
    synth.generate(folder, kind="shapes", images=12, seed=2, size=96, val_fraction=1.0)
    content = json.loads((folder / "val.json").read_text())
    found = [
        {
            "image_id": a["image_id"],
            "category_id": a["category_id"],
            "bbox": [a["bbox"][0] + 1, *a["bbox"][1:]],
            "score": 0.5 + i % 5 / 10,
        }
        for i, a in enumerate(content["annotations"])
        if not a["iscrowd"]
    ]
    (folder / "good.json").write_text(json.dumps(found))
    (folder / "bad.json").write_text(json.dumps([record for i, record in enumerate(found) if i % 3]))
    return folder


def evaluate(capsys, *arguments):
    code = run(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_figures_are_printed_in_the_habit_of_the_field(made, capsys):
    code, out, _ = evaluate(capsys, "--detections", made / "good.json", "--data", made / "val.json")
    assert code == 0
    lines = [line.replace(" ", "") for line in out.splitlines()]
    assert "|AP|AP50|AP75|APs|APm|APl|" in lines
    assert "|category|AP|category|AP|category|AP|" in lines
    assert lines[-3:-1] == ["copypaste:Task:bbox", "copypaste:AP,AP50,AP75,APs,APm,APl"]
    assert lines[-1].startswith("copypaste:")
    assert lines[-1].count(",") == 5


def test_json_and_csv_hold_the_same_fractions(made, capsys):
    given = ("--detections", made / "good.json", "--data", made)
    plain = json.loads(evaluate(capsys, *given, "--json")[1])
    assert plain["mask"] is None
    assert 0.5 < plain["box"]["ap"] < plain["box"]["ap50"] <= 1
    rows = list(csv.DictReader(io.StringIO(evaluate(capsys, *given, "--csv")[1])))
    values = {row["figure"]: float(row["value"]) for row in rows if not row["category"]}
    assert values == {name: value for name, value in plain["box"].items() if name != "per_class"}
    assert {r["category"]: float(r["value"]) for r in rows if r["category"]} == plain["box"]["per_class"]


def test_explain_and_compare_say_what_the_figures_mean(made, capsys):
    given = ("--detections", made / "bad.json", "--data", made / "val.json", "--compare", made / "good.json")
    code, out, _ = evaluate(capsys, *given, "--explain", "--resamples", 50)
    assert code == 0
    for title in (
        "95% intervals",
        "the score to keep",
        "kinds of errors",
        "calibration:",
        "images with the most errors",
    ):
        assert title in out
    assert f"box: this run against {made / 'good.json'}, on the same images" in out
    plain = json.loads(evaluate(capsys, *given, "--explain", "--resamples", 50, "--json")[1])
    assert plain["comparison"]["box"]["difference"]["ap"]["high"] < 0
    assert plain["analysis"]["box"]["errors"]["counts"]["missed"] > 0


def test_voc_is_measured_from_the_same_files(made, capsys):
    given = ("--detections", made / "good.json", "--data", made / "val.json", "--metric", "voc2012")
    plain = json.loads(evaluate(capsys, *given, "--json")[1])
    assert plain["box"]["year"] == 2012
    text = evaluate(capsys, *given)[1]
    assert f"copypaste: {100 * plain['box']['ap']:.4f}" in text
    assert evaluate(capsys, *given, "--csv")[1].splitlines()[1] == f"box,,ap,{plain['box']['ap']!r}"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "val.json"], 2, "give a model, or --detections with saved results; one of the two"),
        (["--detections", "good.json"], 2, "say on which data: --data FOLDER or --data val.json"),
        (["--detections", "none.json", "--data", "val.json"], 1, "none.json does not exist"),
        (["--detections", "val.json", "--data", "val.json"], 1, "these are annotations, not results"),
        (["--detections", "good.json", "--data", "good.json"], 1, "good.json: expected COCO annotations"),
        (["--detections", "good.json", "--data", "nothing"], 1, "nothing is neither a folder, a file nor a known data"),
        (["--detections", "good.json", "--data", "val.json", "--kind", "boxes"], 1, "no evaluation of 'boxes'"),
        (["--detections", "good.json", "--data", "val.json", "--metric", "lvis"], 1, "so they are not LVIS"),
        (["--detections", "good.json", "--data", "val.json", "--sigmas", "a"], 2, "expected numbers with commas"),
        (["--detections", "good.json", "--data", "val.json", "--json", "--csv"], 2, "cannot both be printed"),
        (["--detections", "good.json", "--data", "val.json", "--save", "x"], 2, "there is nothing to save"),
        (["no_model", "--data", "val.json"], 1, "no_model: neither a file, nor a preset"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(made, capsys, monkeypatch, arguments, code, message):
    monkeypatch.chdir(made)
    found, out, err = evaluate(capsys, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_model_is_measured_and_its_detections_saved(made, capsys, tmp_path):
    saved = tmp_path / "found.json"
    small = ["model.input.resize.short_test=64", "model.input.resize.long_test=64", "model.num_classes=6"]
    small += ["test.max_detections=5", "test.score_threshold=0.0"]
    code, out, err = evaluate(
        capsys, "mask_rcnn_r18_fpn_gn", *small, "--data", made, "--save", saved, "--workers", 0, "--device", "cpu"
    )
    assert code == 0
    assert "time: " in out
    assert "copypaste: Task: segm" in out
    assert "finding objects: 12 of 12" in err
    records = json.loads(saved.read_text())
    assert 0 < len(records) <= 60
    again = evaluate(capsys, "--detections", saved, "--data", made, "--json")
    assert json.loads(again[1])["box"]["ap"] >= 0


def test_proposals_are_measured_by_their_recall(made, capsys):
    """From a file, and of a model that finds nothing else."""
    saved = ("--detections", made / "good.json", "--data", made, "--metric", "proposals")
    plain = json.loads(evaluate(capsys, *saved, "--json")[1])
    assert 0.5 < plain["proposals"]["ar100"] <= plain["proposals"]["ar1000"] <= 1
    rows = evaluate(capsys, *saved, "--csv")[1].splitlines()
    assert rows[1] == f"proposals,,ar100,{plain['proposals']['ar100']!r}"
    small = ["model.input.resize.short_test=64", "model.input.resize.long_test=64", "model.backbone.depth=18"]
    given = (*small, "--data", made, "--workers", 0, "--device", "cpu")
    code, out, err = evaluate(capsys, "rpn_r50_fpn", *given)
    assert code == 0
    assert "| proposals | all" in out
    assert "finding proposals: 12 of 12" in err
