"""`boxwright data check`."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from boxwright.cli.console import print_json, print_table, progress
from boxwright.cli.options import DataArgument, NamedRootOption


def check(
    data: DataArgument,
    fix: Annotated[Path | None, typer.Option(help="Write a repaired copy to this new folder.", metavar="OUT")] = None,
    root: NamedRootOption = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Open every picture.")] = True,
    examples: Annotated[int, typer.Option(help="How many examples of each problem to show.")] = 3,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="With --fix, copy pictures outside the data set's folder too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Find what is wrong with a data set: files, pictures, boxes, masks, keypoints, copies over splits.

    The exit code is 1 when something was found that spoils training and --fix was not given.
    The original is never changed.

    Example:

      boxwright data check my-data --fix my-data-repaired
    """
    from boxwright.data.check import check_dataset
    from boxwright.data.repair import repair_dataset

    with ExitStack() as bars:
        report = check_dataset(
            data,
            root=root,
            with_images=images or fix is not None,
            on_start=lambda total: bars.enter_context(progress("looking at the pictures", total)),
        )
    repairs = None if fix is None else repair_dataset(report, fix, allow_outside=allow_outside)
    if as_json:
        plain = report.plain(examples=examples)
        print_json(plain if repairs is None else {**plain, "repairs": repairs.plain()})
    else:
        _print_report(report.plain(examples=examples), repairs)
    if not report.is_clean and repairs is None:
        raise typer.Exit(1)


def _print_report(plain: dict[str, Any], repairs: Any) -> None:
    print_table(
        "Splits",
        [
            (name, f"{part['images']} images", f"{part['objects']} objects", part["format"])
            for name, part in plain["splits"].items()
        ],
    )
    if not plain["problems"]:
        print("nothing found")
    else:
        print_table("Problems", [("count", "kind", "what"), *_counts(plain["problems"])])
        for kind, found in plain["problems"].items():
            examples = [
                (example.get("split", ""), example["place"], example["detail"]) for example in found["examples"]
            ]
            print_table(kind, examples)
    if repairs is not None:
        done = repairs.plain()
        rows: list[Sequence[object]] = [(kind, "repaired", count) for kind, count in done["repaired"].items()]
        rows += [(kind, "left as it is", count) for kind, count in done["left"].items()]
        print_table(f"Repaired copy in {done['out']}", rows or [("nothing had to be repaired",)])


def _counts(problems: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (found["count"], kind, found["meaning"] + (" (does no harm)" if found["harmless"] else ""))
        for kind, found in problems.items()
    ]
