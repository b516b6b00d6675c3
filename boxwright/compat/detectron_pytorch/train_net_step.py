"""Training with the flags of `tools/train_net_step.py`."""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boxwright.compat.detectron_pytorch.flags import DATASETS, add_model_flags, read_settings
from boxwright.config import Config
from boxwright.engine.training.checkpoint import LIST
from boxwright.engine.training.train import Resume, train
from boxwright.errors import ConfigError

OUTPUTS = Path("Outputs")


@dataclass(frozen=True)
class Plan:
    """What the flags ask for. `data` None: what the settings name. `out` None: nothing is kept."""

    config: Config
    data: str | None
    out: Path | None
    resume: Resume
    device: str


def main(arguments: Sequence[str]) -> None:
    """Trains, and prints the figures of the last evaluation, if any; with --no_save the run's folder is removed."""
    plan = plan_training(parse(arguments))
    if plan.out is not None:
        _run(plan, plan.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        _run(plan, Path(folder))


def _run(plan: Plan, out: Path) -> None:
    run = train(plan.config, plan.data, out=out, resume=plan.resume, device=plan.device)
    if run.scores is not None:
        print(run.scores)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """By name; a wrong flag ends the process with status 2 and a line on how the script is called."""
    parser = argparse.ArgumentParser(prog="train_net_step", description="Train a model.")
    parser.add_argument("--dataset", required=True, help=f"{', '.join(DATASETS)}, another known name, or a folder")
    add_model_flags(parser)
    parser.add_argument("--disp_interval", type=int, default=20, help="steps between two lines of figures")
    parser.add_argument("--no_cuda", dest="cuda", action="store_false", help="train on the CPU")
    parser.add_argument("--bs", dest="batch_size", type=int, help="images per batch over all GPUs")
    parser.add_argument("--nw", dest="num_workers", type=int, help="processes that read pictures")
    parser.add_argument("--iter_size", type=int, default=1, help="batches whose gradients are added up before a step")
    parser.add_argument("--o", dest="optimizer", help="SGD")
    parser.add_argument("--lr", type=float, help="base learning rate, for the batch that is used")
    parser.add_argument("--lr_decay_gamma", type=float, help="what the rate is multiplied by at each step down")
    parser.add_argument("--resume", action="store_true", help="go on with the run of --load_ckpt")
    parser.add_argument("--no_save", action="store_true", help="keep nothing")
    parser.add_argument("--use_tfboard", action="store_true", help="write figures for TensorBoard")
    parser.add_argument("--output_dir", type=Path, default=OUTPUTS, help="where the folder of the run is made")
    return parser.parse_args(arguments)


def plan_training(flags: argparse.Namespace) -> Plan:
    """The flags as our settings. Rate and schedule follow the batch as in the original: by `reference_batch`."""
    config = read_settings(flags)
    batch = flags.batch_size or config.train.batch
    changes = [
        f"train.batch={batch}",
        f"train.accumulate={flags.iter_size}",
        f"train.log_every={flags.disp_interval}",
    ]
    if flags.num_workers is not None:
        changes.append(f"data.workers={flags.num_workers}")
    if flags.optimizer not in (None, "SGD"):
        raise ConfigError(f"--o is {flags.optimizer}; SGD is known (for AdamW set train.optimizer of our own settings)")
    if flags.lr is not None:  # meant for the batch in use, whereas ours is scaled from the config's
        changes.append(f"train.lr={flags.lr * (config.train.reference_batch or batch) / batch!r}")
    if flags.lr_decay_gamma is not None:
        changes.append(f"train.schedule.decay.gamma={flags.lr_decay_gamma}")
    if flags.use_tfboard:
        changes.append("train.log_to=[tensorboard]")
    start = _start(flags)
    if start is not None:
        changes.append(f"train.weights={start}")
    return Plan(
        config=config.with_(*changes),
        data=None if flags.dataset in DATASETS else flags.dataset,
        out=_out(flags),
        resume="auto" if flags.resume else "never",
        device="auto" if flags.cuda else "cpu",
    )


def _start(flags: argparse.Namespace) -> str | None:
    """The weights to begin with; a run that goes on has its own."""
    if flags.load_ckpt and flags.load_detectron:
        raise ConfigError("give at most one of --load_ckpt and --load_detectron")
    if flags.resume:
        return None
    given: str | None = flags.load_ckpt or flags.load_detectron
    return given


def _out(flags: argparse.Namespace) -> Path | None:
    """A new folder for each run, `Outputs/<config>/1` and so on; with --resume that of the checkpoint, or the last."""
    if flags.resume and flags.load_ckpt:
        return _run_of(Path(flags.load_ckpt))
    if flags.no_save:
        return None
    place: Path = flags.output_dir / Path(flags.cfg_file).stem
    numbers = [int(path.name) for path in place.glob("*") if path.name.isdecimal()]
    last = max(numbers, default=0)
    return place / str(last if flags.resume and last else last + 1)


def _run_of(checkpoint: Path) -> Path:
    for folder in (checkpoint, *checkpoint.parents):
        if (folder / "checkpoints" / LIST).is_file():
            return folder
    raise ConfigError(
        f"--resume: {checkpoint} lies in no run of Boxwright, so there is no optimiser to go on with; "
        "without --resume a new run starts from its weights"
    )
