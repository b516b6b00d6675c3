"""`boxwright convert`: configs and checkpoints of other programs into ours, and weights back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from boxwright.cli.console import print_json, print_note, print_table
from boxwright.cli.options import JsonOption
from boxwright.cli.writes import writes

if TYPE_CHECKING:
    from boxwright.interop.tables.keys import ConfigReport

app = typer.Typer(add_completion=False)

CONFIG_ENDINGS = {".py", ".yaml", ".yml"}


Program = Literal["boxwright", "detectron2", "torchvision"]


@app.callback()
def convert() -> None:
    """Turn configs and checkpoints of Detectron, Detectron2, mmdetection, torchvision into ours.

    Example:

      boxwright convert config faster_rcnn_R_50_FPN_3x.yaml ours.yaml
    """


@app.command("config")
@writes("target", reads=["source"])
def convert_config(
    source: Annotated[str, typer.Argument(help="A file, a published model's name, or a torchvision call.")],
    target: Annotated[Path | None, typer.Argument(help="The YAML to write; without it only the list is shown.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Translate a config of any program, and list what became of each of its keys.

    Each key is translated, or known and without effect here (with the reason); any other one is an error.

    Example:

      boxwright convert config detectron2/COCO-Detection/faster_rcnn_R_50_FPN_3x ours.yaml
    """
    from boxwright.config import dump
    from boxwright.files import atomic_write
    from boxwright.interop.config import read_config_report

    config, report = read_config_report(source)
    if target is not None:
        with atomic_write(target, "w") as file:
            file.write(dump(config))
    if as_json:
        print_json(_plain(report) | {"target": None if target is None else str(target)})
        return
    _print_report(report)
    print_note(f"read as {report.dialect}" + (f"; wrote {target}" if target else ""))


@app.command("weights")
@writes("target", reads=["source", "config"])
def convert_weights(
    source: Annotated[Path, typer.Argument(help="A checkpoint of any known source.")],
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[Program, typer.Option(help="The program that shall open it.")] = "boxwright",
    config: Annotated[str | None, typer.Option("--config", "-c", help="The model's config, for our own file.")] = None,
    swap_channels: Annotated[bool, typer.Option(help="Turn the first convolution from BGR to RGB, or back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a checkpoint for another program: our safetensors, Detectron2's .pkl (or .pth), torchvision's .pth.

    Our own file holds the settings and the class names too. They are taken from --config, or from the checkpoint where
    it has them, as those of mmdetection and our own do.

    Example:

      boxwright convert weights model_final.pkl ours.safetensors --config mask_rcnn_R_50_FPN_3x.yaml
    """
    from boxwright.engine.conversion import convert_weights

    done = convert_weights(source, target, to=to, config=config, swap_channels=swap_channels)
    if as_json:
        print_json({"source": done.source, "to": done.program, "weights": done.num_weights, "notes": list(done.notes)})
        return
    print(f"{target}: {done.num_weights} weights of {done.source} for {done.program}")
    for note in done.notes:
        print_note(f"note: {note}")


@app.command("check")
def check_configs(
    folder: Annotated[Path, typer.Argument(help="A folder of configs.")], as_json: JsonOption = False
) -> None:
    """Say of each config in a folder whether it can be read, and if not, why.

    Example:

      boxwright convert check detectron2/configs/COCO-Detection
    """
    from boxwright.errors import ConfigError

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    rows = [_row(path, folder) for path in sorted(folder.rglob("*")) if path.suffix in CONFIG_ENDINGS]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print(f"{'ok' if row['error'] is None else 'no':<3} {row['file']}" + (f": {row['error']}" * bool(row["error"])))
    print_note(f"{sum(row['error'] is None for row in rows)} of {len(rows)} can be read")


def _row(path: Path, folder: Path) -> dict[str, Any]:
    from boxwright.errors import ConfigError
    from boxwright.interop.config import read_config_report

    name = str(path.relative_to(folder))
    try:
        dialect: str | None = read_config_report(path)[1].dialect
        reason = None
    except ConfigError as error:
        dialect = None
        reason = "; ".join(line.strip() for line in str(error).removeprefix(f"{path}: ").splitlines())
    return {"file": name, "dialect": dialect, "error": reason}


def _plain(report: "ConfigReport") -> dict[str, Any]:
    return {
        "source": report.source,
        "dialect": report.dialect,
        "translated": [{"key": key, "ours": ours} for key, ours in report.translated],
        "without_effect": [{"key": key, "reason": reason} for key, reason in report.ignored],
        "notes": report.notes,
        "weights": report.weights or None,
    }


def _print_report(report: "ConfigReport") -> None:
    if report.translated:
        print_table("Translated", report.translated)
    if report.ignored:
        print_table("Known, and without effect here", report.ignored)
    for note in report.notes:
        print(f"note: {note}")
    if report.weights:
        print(f"starts from: {report.weights}")
