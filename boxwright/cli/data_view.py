"""`boxwright data view`."""

from pathlib import Path
from typing import Annotated

import typer

from boxwright.cli.console import print_json, progress
from boxwright.cli.options import DataArgument, NamedRootOption
from boxwright.cli.writes import writes


@writes("out", reads=["data"])
def view(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("view.html"),
    split: Annotated[str, typer.Option(help="Which split.")] = "train",
    images: Annotated[int, typer.Option(help="How many images.")] = 60,
    names: Annotated[list[str] | None, typer.Option("--name", help="Only images with an object of this class.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed shows other images; -1 the first ones in order.")] = 0,
    root: NamedRootOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a page of thumbnails with boxes, masks and keypoints: one file, to open in any browser.

    Example:

      boxwright data view my-data --split val --out val.html
    """
    import numpy as np

    from boxwright.data.formats.reading import read_dataset
    from boxwright.data.selection import select_images
    from boxwright.data.view import write_view

    annotations = read_dataset(data, split=split, root=root)
    annotations.need_known_names()
    chosen = select_images(annotations, only_with_objects=False, classes=names or ())
    if seed >= 0:
        chosen = np.sort(np.random.default_rng(seed).permutation(chosen)[:images])
    chosen = chosen[:images]
    with progress("drawing", len(chosen)) as advance:
        write_view(annotations, chosen.tolist(), out, on_image=advance)
    if as_json:
        print_json({"out": str(out), "images": len(chosen), "bytes": out.stat().st_size})
    else:
        print(f"{out}: {len(chosen)} images, {out.stat().st_size / 2**20:.1f} MiB")
