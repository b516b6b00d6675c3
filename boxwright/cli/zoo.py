"""boxwright zoo: the published models, listed and fetched."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwright.cli.console import print_json, print_note

if TYPE_CHECKING:
    from boxwright.interop.download import Progress
    from boxwright.interop.zoo import ZooModel

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Published models of Detectron, Detectron2, mmdetection and torchvision.\n\n"
    "Example: boxwright zoo list --filter mask_rcnn_r50",
)


@app.command("list")
def list_models(
    words: Annotated[
        str, typer.Option("--filter", "-f", help="Words that the name, family or dataset must hold, e.g. 'mmdet r50'.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list on standard output.")] = False,
) -> None:
    """Lists published models with their accuracy.

    Example: boxwright zoo list --filter "detectron2 keypoint"
    """
    from boxwright.interop.zoo import all_models

    models = [model for model in all_models() if _matches(model, words)]
    if as_json:
        print_json([_row(model) for model in models])
        return
    width = max((len(model.name) for model in models), default=0)
    for model in models:
        print(f"{model.name:<{width}}  {model.dataset:<12}  {_accuracy(model)}".rstrip())
    print_note(f"{len(models)} of {len(all_models())} models. Fetch one: boxwright zoo get NAME")


@app.command("get")
def get_model(
    name: Annotated[str, typer.Argument(help="A name of the list, e.g. torchvision/maskrcnn_resnet50_fpn_v2.")],
    as_json: Annotated[bool, typer.Option("--json", help="The model with the path of its file, as JSON.")] = False,
) -> None:
    """Downloads a model once, and prints where its file is.

    Example: boxwright zoo get detectron2/COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x
    """
    from boxwright.interop.download import fetch_model
    from boxwright.interop.zoo import find_model

    model = find_model(name)
    with _progress_bar(model.name) as progress:
        path = fetch_model(model, progress=progress)
    if as_json:
        print_json(_row(model) | {"path": str(path)})
    else:
        print(path)


def _matches(model: "ZooModel", words: str) -> bool:
    text = " ".join((model.name, model.family, model.dataset, *model.aliases)).casefold().replace("-", "_")
    return all(word in text for word in words.casefold().replace("-", "_").split())


def _row(model: "ZooModel") -> dict[str, Any]:
    checksum = f"{model.checksum.algorithm}:{model.checksum.prefix}" if model.checksum else None
    return {
        "name": model.name,
        "family": model.family,
        "dataset": model.dataset,
        "ap": model.ap,
        "url": model.url,
        "checksum": checksum,
        "config": model.config,
    }


def _accuracy(model: "ZooModel") -> str:
    return "  ".join(f"{kind} {value:.1%}".removesuffix("%") for kind, value in model.ap.items())


@contextmanager
def _progress_bar(name: str) -> "Iterator[Progress]":
    """A bar on a terminal; one line per tenth in a log. Both on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainLines(name)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


class _PlainLines:
    """Says how far a download is, at most ten times."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tenths = 0

    def __call__(self, done: int, total: int | None, /) -> None:
        tenths = 10 * done // total if total else done // (100 * 2**20)
        if tenths > self.tenths:
            self.tenths = tenths
            of = f" of {total / 2**20:.0f}" if total else ""
            print_note(f"{self.name}: {done / 2**20:.0f}{of} MiB")
