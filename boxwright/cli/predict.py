"""`boxwright predict`: pictures with what a model finds on them, and the detections as COCO JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from boxwright.cli import precision as precision_of
from boxwright.cli.console import print_note, progress

if TYPE_CHECKING:
    from boxwright.engine.detector import Detector
    from boxwright.types import Detections

app = typer.Typer(add_completion=False)

LEGIBLE_SIDE = 640  # pictures much smaller are drawn at twice to four times their size
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
) -> None:
    """Find objects in pictures.

    Example:

      boxwright predict street.jpg --model torchvision/maskrcnn_resnet50_fpn_v2 --out found
    """
    from boxwright import load

    paths = find_images(images)
    if out is None and json_file is None:
        raise typer.BadParameter("give --out for drawn pictures, --json for detections, or both")
    detector = load(model, weights, device=device, precision=precision_of.to_load(precision))
    precision_of.calibrate(detector, precision, paths)
    records: list[dict[str, Any]] = []
    names = _names_of_pictures(paths)
    with progress("finding objects", len(paths)) as advance:
        for start in range(0, len(paths), 2 * batch):
            part = slice(start, start + 2 * batch)
            for path, name, found in zip(paths[part], names[part], _detect(detector, paths[part], batch), strict=True):
                kept = found[found.scores >= threshold]
                if out is not None:
                    _save_picture(kept, out / name)
                records += kept.to_coco(image_id=path)
                advance()
    if json_file is not None:
        _write_json(records, json_file)
    print_note(f"{len(records)} objects in {len(paths)} images" + (f"; pictures in {out}" if out else ""))


def find_images(sources: Sequence[str]) -> list[str]:
    """Files, the pictures of folders, matches of patterns, and addresses, each once and in order."""
    from boxwright.errors import ImageError

    found: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            found.append(source)
        elif path.is_dir():
            inside = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
            if not inside:
                raise ImageError(f"{source}: no pictures in this folder ({', '.join(sorted(IMAGE_ENDINGS))})")
            found += inside
        else:
            matches = _matches(path) if any(sign in source for sign in "*?[") else []
            if not matches:
                raise ImageError(f"{source}: no such file, folder or pattern")
            found += matches
    return list(dict.fromkeys(found))


def _matches(pattern: Path) -> list[str]:
    anchor = Path(pattern.anchor) if pattern.anchor else Path()
    relative = str(pattern.relative_to(pattern.anchor)) if pattern.anchor else str(pattern)
    return sorted(str(p) for p in anchor.glob(relative) if p.is_file())


def _detect(detector: "Detector", paths: Sequence[str], batch: int) -> "list[Detections]":
    return detector(list(paths), batch_size=batch)


def _names_of_pictures(paths: Sequence[str]) -> list[str]:
    """A file name of its own for each: equal names of different folders get a number."""
    names: list[str] = []
    for path in paths:
        stem = Path(path.partition("?")[0]).stem or "image"
        name, number = f"{stem}.jpg", 2
        while name in names:
            name, number = f"{stem}-{number}.jpg", number + 1
        names.append(name)
    return names


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
