"""`boxwright demo`: the main job from nothing, step after step, each saying where it wrote."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from boxwright.cli.console import print_note, progress

app = typer.Typer(add_completion=False)

MODEL = "mask_rcnn_r18_fpn_gn"
MOST_PICTURES = 12


@dataclass(frozen=True)
class Demo:
    """What the steps share: where to write, how large the data is, how long to train."""

    out: Path
    seed: int
    images: int
    size: int
    steps: int

    @property
    def data(self) -> Path:
        """The folder of the data set."""
        return self.out / "data"

    @property
    def run(self) -> Path:
        """The folder of the training."""
        return self.out / "run"

    @property
    def pictures(self) -> Path:
        """The folder of the drawn pictures."""
        return self.out / "found"

    @property
    def report(self) -> Path:
        """The page."""
        return self.out / "report.html"


def make_data(demo: Demo) -> Path:
    """Cells as under a microscope, from the seed."""
    from boxwright.data.synth import generate

    with progress("drawing cells", demo.images) as advance:
        generate(
            demo.data,
            kind="cells",
            images=demo.images,
            seed=demo.seed,
            size=demo.size,
            overwrite=True,
            on_image=advance,
        )
    return demo.data


def train_model(demo: Demo) -> Path:
    """A small Mask R-CNN from random weights, measured on the validation images; many small steps learn fastest."""
    from boxwright.engine.training.train import train

    settings = {
        "model.input.resize.short_train": [demo.size],
        "model.input.resize.short_test": demo.size,
        "model.box_head.sampling.size": 64,
        "train.batch": 2,
        "train.schedule.max_steps": demo.steps,
        "train.schedule.warm_up.steps": demo.steps // 10,
        "train.log_every": max(demo.steps // 20, 1),
        "train.seed": demo.seed,
    }
    overrides = [f"{name}={value}" for name, value in settings.items()]
    run = train(MODEL, demo.data, out=demo.run, overrides=overrides)
    print(run.scores or "", flush=True)
    return demo.run


def draw_pictures(demo: Demo) -> Path:
    """What the model finds in some of the validation images."""
    from boxwright.cli.predict import predict
    from boxwright.data.formats.reading import read_dataset

    val = read_dataset(demo.data, split="val")
    paths = [str(val.path(i)) for i in range(min(len(val), MOST_PICTURES))]
    predict(paths, model=str(demo.run), out=demo.pictures, threshold=0.6)
    return demo.pictures


def write_page(demo: Demo) -> Path:
    """The report of the run."""
    from boxwright.cli.report import report

    report(demo.run, out=demo.report, title="The demo: cells")
    return demo.report


# In order; each returns what it wrote. A step finds what the ones before it wrote through the properties of Demo.
STEPS: tuple[tuple[str, Callable[[Demo], Path]], ...] = (
    ("synthetic data set", make_data),
    ("training", train_model),
    ("pictures", draw_pictures),
    ("report", write_page),
)


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="The folder to write.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the data and of the training.")] = 0,
    images: Annotated[int, typer.Option(help="How many pictures to make.")] = 500,
    size: Annotated[int, typer.Option(help="Their height and width in pixels.")] = 192,
    steps: Annotated[int, typer.Option(min=1, help="How many steps to train.")] = 800,
) -> None:
    """Make a data set, train a Mask R-CNN on it, measure it, draw what it finds, and write a report: some minutes.

    Example:

      boxwright demo demo
    """
    settings = Demo(out=out, seed=seed, images=images, size=size, steps=steps)
    wrote = []
    for number, (name, step) in enumerate(STEPS, start=1):
        print_note(f"[{number}/{len(STEPS)}] {name}")
        wrote.append((name, step(settings)))
    for name, path in wrote:
        print(f"{name}: {path}")
