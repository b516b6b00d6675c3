"""`boxwright runs`: what became of each training, side by side."""

from pathlib import Path
from typing import Annotated, Any

import typer

from boxwright.cli.console import print_json, print_note, print_table
from boxwright.cli.options import JsonOption
from boxwright.cli.writes import writes

app = typer.Typer(add_completion=False)

FIGURES = ("box.ap", "mask.ap", "keypoint.ap")


@app.command()
@writes("out", reads=[])
def runs(
    folders: Annotated[list[Path], typer.Argument(help="Runs, or folders that hold some.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="An HTML page with the curves.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List and compare trainings: steps, losses, best figures, and the settings in which they differ.

    Example:

      boxwright runs runs --out curves.html
    """
    from boxwright.engine.training.runs import differences, find_runs
    from boxwright.report.curves import write_curves

    found = find_runs(folders)
    changed = differences(found)
    plain = [_plain(run) for run in found]
    if out is not None:
        write_curves(found, out)
        print_note(f"curves in {out}")
    if as_json:
        print_json({"runs": plain, "differences": changed})
        return
    figures = [name for name in FIGURES if any(name in row["best"] for row in plain)]
    rows: list[list[Any]] = [["run", "steps", "loss", *(f"best {name}" for name in figures)]]
    for row in plain:
        best = [_best(row["best"].get(name)) for name in figures]
        loss = "" if row["loss"] is None else f"{row['loss']:.3f}"
        rows.append([row["run"], f"{row['step']}/{row['num_steps']}", loss, *best])
    print_table("Runs", rows)
    if changed:
        names = [["setting", *(Path(row["run"]).name for row in plain)]]
        print_table("Settings that differ", names + [[name, *values] for name, values in changed.items()])


def _plain(run: Any) -> dict[str, Any]:
    best = {name: run.best(name) for name in FIGURES}
    return {
        "run": str(run.folder),
        "step": run.step,
        "num_steps": run.num_steps,
        "loss": run.loss,
        "best": {name: {"value": found[0], "step": found[1]} for name, found in best.items() if found is not None},
    }


def _best(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{found['value']:.3f} at {found['step']}"
