"""`boxwright train`: a model from a folder of labelled images."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from boxwright.cli.console import print_json, print_note
from boxwright.cli.options import TrainingDataOption, TrainingDeviceOption

if TYPE_CHECKING:
    from boxwright.engine.training.train import Run

app = typer.Typer(add_completion=False)


ConfigArgument = Annotated[str | None, typer.Argument(help="A preset, a published model's name, or a config file.")]
OverridesArgument = Annotated[list[str] | None, typer.Argument(help="Settings to change: train.lr=0.01 ...")]
StartWeightsOption = Annotated[
    str | None, typer.Option("--weights", "-w", help="Start from this checkpoint, of any known source.")
]


@app.command(context_settings={"ignore_unknown_options": False})
def train(
    config: ConfigArgument = None,
    overrides: OverridesArgument = None,
    data: TrainingDataOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder of the run.")] = None,
    weights: StartWeightsOption = None,
    recipe: Annotated[str | None, typer.Option(help="A schedule by name: 1x, 2x, 3x, 20e, lsj_100e, ...")] = None,
    resume: Annotated[str, typer.Option(help="auto: a run in --out goes on; never: it is an error.")] = "auto",
    device: TrainingDeviceOption = "auto",
    gpus: Annotated[int, typer.Option(min=1, help="Train on this many GPUs of this machine.")] = 1,
    replay: Annotated[Path | None, typer.Option(help="Repeat the step that a failed run has dumped, and stop.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the last figures as JSON.")] = False,
) -> None:
    """Train a model. Ctrl-C saves and stops; the same command goes on.

    Example:

      boxwright train mask_rcnn_r18_fpn_gn --data photos --out runs/photos train.schedule.max_steps=3000
    """
    if replay is not None:
        _replay(replay, device)
        return
    if config is None or out is None:
        raise typer.BadParameter("give a config and --out, as in the example of `boxwright train --help`")
    if resume not in ("auto", "never"):
        raise typer.BadParameter(f"--resume is {resume!r}; expected auto or never")
    if gpus > 1:
        _launch(gpus)
        return
    from boxwright import train as run_training

    changes = [*(overrides or []), *([] if weights is None else [f"train.weights={weights}"])]
    run = run_training(config, data, out=out, recipe=recipe, resume=resume, device=device, overrides=changes)  # type: ignore[arg-type]
    if run.is_main:
        _print(run, as_json=as_json)


def _print(run: "Run", *, as_json: bool) -> None:
    if as_json:
        print_json({"step": run.step, "done": run.is_done, "scores": run.scores and run.scores.to_dict()})
    elif run.scores is not None:
        print(run.scores)
    if run.is_done:
        print_note(f"weights in {run.folder}; try: boxwright predict PICTURES --model {run.folder} --out found")


def _replay(path: Path, device: str) -> None:
    from boxwright.engine.loading import pick_device
    from boxwright.engine.training.trouble import replay

    print(replay(path, device=pick_device(device)))


def _launch(gpus: int) -> None:
    """The same command line under torchrun, one process for each GPU; when one dies all go on from a checkpoint."""
    import torch
    from torch.distributed.run import main as torchrun

    from boxwright.errors import TrainingError

    if torch.cuda.device_count() < gpus:
        raise TrainingError(f"--gpus {gpus}: this machine has {torch.cuda.device_count()}")
    settings = ["--standalone", "--nproc-per-node", str(gpus), "--max-restarts", "3"]
    torchrun([*settings, "-m", "boxwright", *_without_gpus(sys.argv[1:])])


def _without_gpus(arguments: list[str]) -> list[str]:
    """The command line without --gpus."""
    kept: list[str] = []
    skip = False
    for word in arguments:
        if not skip and word != "--gpus" and not word.startswith("--gpus="):
            kept.append(word)
        skip = word == "--gpus"
    return kept
