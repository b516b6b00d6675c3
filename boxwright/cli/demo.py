"""`boxwright demo`: the main job from nothing, step after step, each saying where it wrote."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .console import print_note, progress

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Demo:
    """What the steps share: where to write, and from which seed."""

    out: Path
    seed: int
    images: int
    size: int

    @property
    def data(self) -> Path:
        return self.out / "data"


def make_data(demo: Demo) -> Path:
    from boxwright.data.synth import generate

    with progress("drawing shapes", demo.images) as advance:
        generate(
            demo.data,
            kind="shapes",
            images=demo.images,
            seed=demo.seed,
            size=demo.size,
            overwrite=True,
            on_image=advance,
        )
    return demo.data


# In order; each returns what it wrote. A step finds what the ones before it wrote through the properties of Demo.
STEPS: tuple[tuple[str, Callable[[Demo], Path]], ...] = (("synthetic data set", make_data),)


@app.command()
def demo(
    out: Annotated[Path, typer.Argument(help="The folder to write.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Of the data.")] = 0,
    images: Annotated[int, typer.Option(help="How many pictures to make.")] = 500,
    size: Annotated[int, typer.Option(help="Their height and width in pixels.")] = 320,
) -> None:
    """Make a synthetic data set, and say where it is.

    Example:

      boxwright demo demo --images 20
    """
    settings = Demo(out=out, seed=seed, images=images, size=size)
    wrote = []
    for number, (name, step) in enumerate(STEPS, start=1):
        print_note(f"[{number}/{len(STEPS)}] {name}")
        wrote.append((name, step(settings)))
    for name, path in wrote:
        print(f"{name}: {path}")
