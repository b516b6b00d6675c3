"""`boxwright predict`: pictures with what a model finds on them, and the detections as COCO JSON."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwright.cli import precision as precision_of
from boxwright.cli.console import print_error, print_note, progress
from boxwright.cli.writes import ForceOption

if TYPE_CHECKING:
    from boxwright.data.image import RgbImage
    from boxwright.engine.detector import Detector
    from boxwright.errors import BoxwrightError
    from boxwright.types import Detections

app = typer.Typer(add_completion=False)

LEGIBLE_SIDE = 640  # pictures much smaller are drawn at twice to four times their size
LONGEST_NAME = 255  # bytes of a file's name
INTERRUPTED = 130  # the exit code after Ctrl-C
IMAGE_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@app.command()
def predict(
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns such as 'shots/*.jpg', addresses.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A preset, a published model, a config or a checkpoint.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A folder for the drawn pictures.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", "-w", help="A checkpoint of any known source.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="A file for the detections in COCO's form.")] = None,
    threshold: Annotated[float, typer.Option(help="Draw and write only detections with at least this score.")] = 0.5,
    batch: Annotated[int, typer.Option(min=1, help="Images of one padded size that run together.")] = 4,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    precision: Annotated[str, typer.Option(help=precision_of.HELP)] = "fp32",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Pictures that cannot be read are no failure.")] = False,
    force: ForceOption = False,
) -> None:
    """Find objects in pictures.

    A picture that cannot be read is named, and the others go on; the exit code is then 1. After Ctrl-C (130) the JSON
    holds what was found until then.

    Example:

      boxwright predict street.jpg --model torchvision/maskrcnn_resnet50_fpn_v2 --out found
    """
    if out is None and json_file is None:
        raise typer.BadParameter("give --out for drawn pictures, --json for detections, or both")
    paths = find_images(images, leave_out=out)
    drawn = [] if out is None else [out / name for name in _names_of_pictures(paths)]
    from boxwright import load
    from boxwright.outputs import writing

    work = _Work(paths, drawn, threshold)
    with writing(*drawn, json_file, inputs=[*paths, model, weights], force=force):
        work.run(load(model, weights, device=device, precision=precision_of.to_load(precision)), batch, precision)
        if json_file is not None:
            _write_json(work.records, json_file)
    work.tell(out)
    if work.is_stopped or (work.bad and not skip_bad):
        raise typer.Exit(INTERRUPTED if work.is_stopped else 1)


@dataclass
class _Work:
    """Pictures in, and what became of them. `drawn` has a file for each, or is empty."""

    paths: Sequence[str]
    drawn: Sequence[Path]
    threshold: float
    records: list[dict[str, Any]] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)  # pictures that could not be read
    num_done: int = 0
    is_stopped: bool = False

    def run(self, detector: "Detector", batch: int, precision: str) -> None:
        try:
            if precision == "int8":
                precision_of.calibrate(detector, precision, self._first_readable(precision_of.MOST_CALIBRATED_ON))
            self._find_all(detector, batch)
        except KeyboardInterrupt:  # what is done is kept
            self.is_stopped = True

    def _find_all(self, detector: "Detector", batch: int) -> None:
        with progress("finding objects", len(self.paths)) as advance:
            for start in range(0, len(self.paths), 2 * batch):
                part = range(start, min(start + 2 * batch, len(self.paths)))
                self._find(detector, part, batch)
                for _ in part:
                    advance()

    def _find(self, detector: "Detector", part: range, batch: int) -> None:
        pictures = {index: picture for index in part if (picture := self._opened(self.paths[index])) is not None}
        for index, found in zip(pictures, detector(list(pictures.values()), batch_size=batch), strict=True):
            kept = found[found.scores >= self.threshold]
            if self.drawn:
                _save_picture(kept, self.drawn[index])
            self.records += kept.to_coco(image_id=self.paths[index])
            self.num_done += 1

    def _opened(self, path: str) -> "RgbImage | None":
        picture = _load(path)
        if not isinstance(picture, Exception):
            return picture
        print_note(f"left out: {picture}")
        self.bad.append(path)
        return None

    def _first_readable(self, most: int) -> "list[RgbImage]":
        pictures = (picture for path in self.paths if not isinstance(picture := _load(path), Exception))
        return list(islice(pictures, most))

    def tell(self, out: Path | None) -> None:
        print_note(f"{len(self.records)} objects in {self.num_done} images" + (f"; pictures in {out}" if out else ""))
        if self.bad:
            more = f" and {len(self.bad) - 3} more" if len(self.bad) > 3 else ""
            print_error(
                f"{len(self.bad)} of {len(self.paths)} pictures could not be read: {', '.join(self.bad[:3])}{more}"
            )
        if self.is_stopped:
            print_error(f"interrupted after {self.num_done} of {len(self.paths)} images")


def _load(path: str) -> "RgbImage | BoxwrightError":
    """The picture, or why it cannot be had."""
    from boxwright.data.image import load_image
    from boxwright.errors import DownloadError, ImageError

    try:
        return load_image(path)
    except (ImageError, DownloadError) as error:
        return error


def find_images(sources: Sequence[str], *, leave_out: Path | None = None) -> list[str]:
    """Files, the pictures of folders, matches of patterns, and addresses, each once and in order.

    Of folders and patterns, what lies in `leave_out`, where an earlier run may have drawn it, counts only where there
    is nothing else.
    """
    from boxwright.errors import ImageError

    found: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            found.append(source)
        elif path.is_dir():
            inside = sorted(_pictures_in(path))
            if not inside:
                raise ImageError(f"{source}: no pictures in this folder ({', '.join(sorted(IMAGE_ENDINGS))})")
            found += _outside(inside, leave_out) or inside
        else:
            matches = _matches(path) if any(sign in source for sign in "*?[") else []
            if not matches:
                raise ImageError(f"{source}: no such file, folder or pattern")
            found += _outside(matches, leave_out) or matches
    return list(dict.fromkeys(found))


def _pictures_in(folder: Path) -> Iterator[str]:
    for parent, _, names in os.walk(folder):
        yield from (str(Path(parent, name)) for name in names if Path(name).suffix.lower() in IMAGE_ENDINGS)


def _outside(paths: Sequence[str], folder: Path | None) -> list[str]:
    if folder is None:
        return list(paths)
    return [path for path in paths if folder.resolve() not in Path(path).resolve().parents]


def _matches(pattern: Path) -> list[str]:
    anchor = Path(pattern.anchor) if pattern.anchor else Path()
    relative = str(pattern.relative_to(pattern.anchor)) if pattern.anchor else str(pattern)
    return sorted(str(p) for p in anchor.glob(relative) if p.is_file())


def _names_of_pictures(paths: Sequence[str]) -> list[str]:
    """A file name of its own for each, also where case does not count: equal names get a number, which is said."""
    names: list[str] = []
    taken: set[str] = set()
    changed: list[str] = []
    for path in paths:
        stem = Path(path.partition("?")[0]).stem or "image"
        name, number = _fitting(stem, ".jpg"), 2
        while name.lower() in taken:
            name, number = _fitting(stem, f"-{number}.jpg"), number + 1
        if number > 2:
            changed.append(f"{path} as {name}")
        taken.add(name.lower())
        names.append(name)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        print_note(f"pictures whose names are equal get a number: {', '.join(changed[:3])}{more}")
    return names


def _fitting(stem: str, ending: str) -> str:
    """A name that no system finds too long."""
    return os.fsdecode(os.fsencode(stem)[: LONGEST_NAME - len(ending)]) + ending


def _save_picture(found: "Detections", path: Path) -> None:
    from boxwright.files import atomic_write
    from boxwright.report.draw import enlarged

    factor = min(max(round(LEGIBLE_SIDE / max(found.size)), 1), 4)
    if factor > 1 and found.image is not None:
        found = enlarged(found, found.image, factor)
    with atomic_write(path) as file:
        found.draw().save(file, format="JPEG", quality=92)


def _write_json(records: list[dict[str, Any]], path: Path) -> None:
    import json

    from boxwright.files import atomic_write

    with atomic_write(path, "w") as file:
        json.dump(records, file)
