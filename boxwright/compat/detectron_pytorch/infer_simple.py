"""Drawn detections with the flags of `tools/infer_simple.py`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from boxwright.compat.detectron_pytorch.flags import add_model_flags, one_checkpoint, read_settings
from boxwright.data.image_files import FreeNames
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load
from boxwright.errors import ConfigError, ImageError
from boxwright.files import atomic_write
from boxwright.outputs import writing

ENDINGS = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".webp", ".tif", ".tiff"}
DRAWN = 0.7  # lowest score that is drawn
MERGED = "results.pdf"


def main(arguments: Sequence[str]) -> None:
    """One PDF per picture, and all of them in `results.pdf`."""
    flags = parse(arguments)
    if not flags.dataset.startswith(("coco", "keypoints_coco")):
        raise ConfigError(f"--dataset is {flags.dataset}; coco, coco2017 and keypoints_coco2017 are known")
    paths = find_pictures(flags)
    free = FreeNames()
    merged, *pages_of = [
        flags.output_dir / free.take(name) for name in (MERGED, *(f"{path.stem}.pdf" for path in paths))
    ]
    with writing(*pages_of, merged, inputs=[*paths, flags.load_ckpt, flags.load_detectron]):
        _infer(flags, dict(zip(paths, pages_of, strict=True)), merged)


def _infer(flags: argparse.Namespace, drawn: Mapping[Path, Path], merged: Path) -> None:
    """`drawn`: the PDF of each picture."""
    flags.dataset = "keypoints_coco2017" if flags.dataset.startswith("keypoints") else "coco2017"
    detector = load(read_settings(flags), one_checkpoint(flags), device="auto" if flags.cuda else "cpu")
    pages = []
    for number, (path, page) in enumerate(drawn.items(), start=1):
        print(f"{number} of {len(drawn)}: {path} as {page.name}", flush=True)
        pages.append(_draw(detector, path))
        _write_pdf([pages[-1]], page)
        if not flags.merge_pdfs:
            pages.clear()
    if len(pages) > 1:
        _write_pdf(pages, merged)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """By name; a wrong flag ends the process with status 2 and a line on how the script is called."""
    parser = argparse.ArgumentParser(prog="infer_simple", description="Find objects in pictures and draw them.")
    parser.add_argument("--dataset", required=True, help="the data set the model was trained on: coco, keypoints_coco")
    add_model_flags(parser)
    parser.add_argument("--no_cuda", dest="cuda", action="store_false", help="run on the CPU")
    parser.add_argument("--image_dir", type=Path, help="a folder of pictures")
    parser.add_argument("--images", type=Path, nargs="+", help="pictures, in the place of --image_dir")
    parser.add_argument("--output_dir", type=Path, default=Path("infer_outputs"), help="where the PDFs are written")
    parser.add_argument("--merge_pdfs", type=_truth, default=True, help=f"all in {MERGED} too: yes or no")
    return parser.parse_args(arguments)


def find_pictures(flags: argparse.Namespace) -> list[Path]:
    """--images in their order, or all below --image_dir by name. A ConfigError unless one of both is given."""
    if bool(flags.image_dir) == bool(flags.images):
        raise ConfigError("give exactly one of --image_dir and --images")
    if flags.images:
        return list(flags.images)
    found = sorted(path for path in flags.image_dir.rglob("*") if path.suffix.lower() in ENDINGS)
    if not found:
        raise ImageError(f"{flags.image_dir}: no pictures in this folder")
    return found


def _draw(detector: Detector, path: Path) -> Image.Image:
    found = detector(path)
    picture: Image.Image = found[found.scores >= DRAWN].draw()
    return picture


def _write_pdf(pages: Sequence[Image.Image], path: Path) -> None:
    with atomic_write(path) as file:
        pages[0].save(file, format="PDF", save_all=True, append_images=pages[1:])


def _truth(word: str) -> bool:
    if word.lower() in ("y", "yes", "t", "true", "on", "1"):
        return True
    if word.lower() in ("n", "no", "f", "false", "off", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{word!r} is neither yes nor no")
