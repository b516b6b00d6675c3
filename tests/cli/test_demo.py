"""`boxwright demo`: the whole job, each step says what it wrote, and it can be run again."""

from boxwright.cli.main import run
from boxwright.engine.training.loggers import read_metrics


def test_the_demo_does_the_whole_job_and_can_be_run_again(tmp_path, capsys):
    out = tmp_path / "demo"
    for _ in range(2):
        assert run(["demo", str(out), "--images", "5", "--size", "64", "--steps", "2"]) == 0
        printed = capsys.readouterr()
        assert "[1/4] synthetic data set" in printed.err
        assert printed.out.endswith(
            f"synthetic data set: {out / 'data'}\ntraining: {out / 'run'}\n"
            f"pictures: {out / 'found'}\nreport: {out / 'report.html'}\n"
        )
    assert [row["step"] for row in read_metrics(out / "run") if row["kind"] == "val"] == [2]
    assert [path.suffix for path in (out / "found").iterdir()] == [".jpg"]
    assert (out / "report.html").read_text().lower().startswith("<!doctype html>")
