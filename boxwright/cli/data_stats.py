"""`boxwright data stats`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from boxwright.cli.console import print_json, print_note, print_table
from boxwright.cli.options import DataArgument, NamedRootOption
from boxwright.cli.writes import ForceOption


def stats(
    data: DataArgument,
    config: Annotated[str | None, typer.Option(help="Compare boxes with the anchors of this config or preset.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Write plots (PNG) to this folder.", metavar="OUT")] = None,
    root: NamedRootOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    force: ForceOption = False,
) -> None:
    """Count classes, sizes, shapes and objects per image, and see how well anchors fit the boxes.

    Example:

      boxwright data stats my-data --config mask_rcnn_r50_fpn --plots my-data-plots
    """
    from boxwright.config.load import load_config
    from boxwright.data.formats.reading import read_all_splits
    from boxwright.data.stats import anchor_shapes, dataset_stats

    splits = read_all_splits(data, root=root)
    model = None if config is None else load_config(config).model
    anchors = None if model is None else anchor_shapes(model.anchors, model.input.resize)
    numbers = dataset_stats(splits, anchors=anchors)
    if as_json:
        print_json(numbers)
    else:
        for name, part in numbers.items():
            _print_split(name, part)
    if plots is not None:
        from boxwright.data.stats_plots import NAMES, plot_stats
        from boxwright.outputs import writing

        with writing(*(plots / f"{name}.png" for name in NAMES), inputs=[data], force=force):
            for path in plot_stats(splits, plots, anchors=anchors):
                print_note(f"wrote {path}")


def _print_split(name: str, part: dict[str, Any]) -> None:
    counts = ("images", "images_without_objects", "objects", "crowds", "difficult", "unusable")
    print_table(name, [(key.replace("_", " "), part[key]) for key in counts])
    classes = sorted(part["classes"].items(), key=lambda item: -item[1]["objects"])
    print_table("classes", [("class", "objects", "images")] + [(key, n["objects"], n["images"]) for key, n in classes])
    spreads = ("image_height", "image_width", "objects_per_image", "box_size", "box_aspect_ratio")
    filled = [key for key in spreads if part[key]]
    heads = list(part[filled[0]]) if filled else []
    print_table("spread", [("", *heads), *((key.replace("_", " "), *part[key].values()) for key in filled)])
    print_table("share of boxes", list(part["share_of_boxes"].items()))
    if "keypoints_labelled" in part:
        print_table("keypoints labelled", list(part["keypoints_labelled"].items()))
    if "anchors" in part:
        found = part["anchors"]
        rows = [
            ("median best IoU", found["best_iou"].get("p50")),
            ("share with IoU 0.7 or more", found["share_well_covered"]),
        ]
        print_table("anchors", [*rows, ("share with IoU below 0.5", found["share_below_half"])])
