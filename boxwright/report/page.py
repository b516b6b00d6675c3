"""A report as one HTML file that needs nothing else: figures, charts and the worst images."""

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from boxwright import __version__
from boxwright.errors import DatasetError
from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.intervals import Comparison
from boxwright.files import atomic_write
from boxwright.report.payload import Plain, kind_payload
from boxwright.report.thumbnails import FindPicture, Thumbnails

STYLES = ("page.css", "charts.css", "pictures.css", "screens.css")
TABS = ("overview.js", "classes.js", "scores.js", "errors.js", "pictures.js", "training.js")
NUM_IMAGES = 40
PICTURE_BYTES = 10_000_000  # for the images and what is drawn on them: a page stays below 15 MB and can be mailed


@dataclass(frozen=True, kw_only=True)
class Report:
    """`find` gives the file of the image at a position of the ground truth, None where there is none."""

    title: str
    source: str  # what was measured on what
    ground_truth: GroundTruth
    analyses: Mapping[str, Analysis]  # by kind
    find: FindPicture = lambda position: None
    comparisons: Mapping[str, Comparison] | None = None
    compared_with: str = ""
    training: Plain | None = None
    timing: Plain | None = None
    notes: tuple[str, ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()


def write_report(
    report: Report,
    path: str | Path,
    *,
    num_images: int = NUM_IMAGES,
    picture_bytes: int = PICTURE_BYTES,
) -> int:
    """Writes the page and returns its size in bytes. Images that do not fit into `picture_bytes` are left out."""
    if not report.analyses:
        raise DatasetError("there is nothing to report: no kind was analysed")
    page = render(_payload(report, num_images, picture_bytes), title=report.title)
    with atomic_write(path, "w") as file:
        file.write(page)
    return len(page.encode())


def render(payload: Plain, *, title: str) -> str:
    """The page, with style, scripts and data inside it."""
    content = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Inside a script element nothing but an end tag or a comment's start is read as anything else than text.
    content = content.replace("<", "\\u003c")
    texts = {
        "/*STYLE*/": _assets(*STYLES),
        "/*SCRIPT*/": _assets("charts.js", *TABS, "page.js"),
        "{{title}}": html.escape(title, quote=False),
        "/*DATA*/": content,
    }
    marks = "|".join(map(re.escape, texts))  # all at once, so that none is found in what took another's place
    return re.sub(marks, lambda mark: texts[mark[0]], _assets("page.html"))


def _assets(*names: str) -> str:
    """Files of the page, one after the other: the scripts are one, as the style sheets are."""
    folder = files(__package__).joinpath("assets")
    return "".join(folder.joinpath(name).read_text("utf-8") for name in names)


def _payload(report: Report, num_images: int, picture_bytes: int) -> Plain:
    truth = report.ground_truth
    thumbnails = Thumbnails(truth, report.find, budget=picture_bytes)
    kinds: dict[str, Any] = {}
    for kind, analysis in report.analyses.items():
        comparison = None if report.comparisons is None else report.comparisons.get(kind)
        kinds[kind] = kind_payload(analysis, comparison)
        kinds[kind]["images"] = []
        for image in [image for image in analysis.images if image.num_errors][:num_images]:
            plain = thumbnails.image(analysis, image)
            if plain is None:
                break
            kinds[kind]["images"].append(plain)
    return {
        "title": report.title,
        "source": report.source,
        "version": __version__,
        "classes": list(truth.names),
        "numImages": len(truth.image_ids),
        "numObjects": int((truth.is_crowd == 0).sum()),
        "numCrowds": int(truth.is_crowd.sum()),
        "notes": list(report.notes),
        "timing": report.timing,
        "training": report.training,
        "comparedWith": report.compared_with,
        "limbs": [list(limb) for limb in report.limbs],
        "kinds": kinds,
        "pictures": thumbnails.pictures,
    }
