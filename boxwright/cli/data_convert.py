"""`boxwright data convert`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from boxwright.cli.console import print_json, print_table, progress
from boxwright.cli.options import DataArgument, NamedRootOption

Format = Literal["coco", "lvis", "voc", "cityscapes", "yolo"]


def convert(
    data: DataArgument,
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    to: Annotated[Format, typer.Option(help="The format to write.")],
    root: NamedRootOption = None,
    images: Annotated[
        Literal["copy", "link"], typer.Option(help="Copy the pictures, or make symbolic links.")
    ] = "copy",
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Copy pictures outside the data set's folder too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Write a data set in another format: coco, lvis, voc, cityscapes or yolo, all splits at once.

    What the new format has no place for is counted and printed.

    Example:

      boxwright data convert VOC2007 voc-as-coco --to coco
    """
    from boxwright.data.formats.convert import write_dataset
    from boxwright.data.formats.reading import read_all_splits

    splits = read_all_splits(data, root=root)
    with progress("writing", sum(len(annotations) for annotations in splits.values())) as advance:
        conversion = write_dataset(
            splits, out, to=to, images=images, allow_outside=allow_outside, on_image=advance
        ).plain()
    if as_json:
        print_json(conversion)
        return
    print(f"{out}: {conversion['objects']} objects as {to}")
    print_table("Splits", [(name, f"{count} images") for name, count in conversion["splits"].items()])
    if conversion["losses"]:
        print_table("Lost or changed on the way", [(count, what) for what, count in conversion["losses"].items()])
