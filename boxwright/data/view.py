"""`boxwright data view`: one HTML file with thumbnails and what is annotated on them; a browser is enough."""

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from boxwright.data.annotations import Annotations, Category, ObjectInfo
from boxwright.data.image import RgbImage, load_image
from boxwright.errors import BoxwrightError, ImageError
from boxwright.files import atomic_write
from boxwright.geometry.masks import segment_to_bitmap
from boxwright.geometry.rings import bitmap_to_rings
from boxwright.types import Segment, Size

THUMBNAIL = 480  # pixels of the longer side
QUALITY = 80
Attributes = dict[str, str | float]
_STYLE = """
:root { color-scheme: light dark; font: 14px/1.4 system-ui, sans-serif; }
body { margin: 1rem; } h1 { font-size: 1.2rem; margin: 0 0 .3rem; } .note { opacity: .7; margin: 0 0 .6rem; }
.bar { position: sticky; top: 0; background: Canvas; padding: .5rem 0; display: flex; flex-wrap: wrap; gap: .2rem .9rem;
  z-index: 1; border-bottom: 1px solid #8884; margin-bottom: .8rem; }
.bar i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .25em 0 .1em; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: .8rem; align-items: start; }
figure { margin: 0; } figure svg { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; opacity: .8; } .fault { color: #c22; }
.box { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
.mask { fill-opacity: .35; stroke-width: 1; vector-effect: non-scaling-stroke; }
.crowd .box { stroke-dasharray: 5 4; }
.bone { stroke-width: 2; vector-effect: non-scaling-stroke; } .hidden { fill: #fff; }
.name { fill: #fff; paint-order: stroke; stroke: #000b; stroke-width: 3px; stroke-linejoin: round; }
body:not(.boxes) .box, body:not(.masks) .mask, body:not(.points) .point, body:not(.points) .bone,
body:not(.names) .name { display: none; }
"""
_SCRIPT = """
for (const input of document.querySelectorAll('.bar input'))
  input.addEventListener('change', () => {
    if (input.dataset.part) document.body.classList.toggle(input.dataset.part, input.checked);
    else for (const group of document.querySelectorAll('.c' + input.dataset.label))
      group.style.display = input.checked ? '' : 'none';
  });
"""


def write_view(
    annotations: Annotations, images: Sequence[int], out: Path, *, on_image: Callable[[], None] = lambda: None
) -> None:
    """A page of the given positions. A picture that cannot be read is shown as such."""
    figures = []
    for index in images:
        figures.append(_figure(annotations, int(index)))
        on_image()
    parts = {"boxes": True, "masks": annotations.has_masks, "points": annotations.has_keypoints, "names": True}
    shown = " ".join(part for part, is_there in parts.items() if is_there)
    title = html.escape(f"{annotations.source} ({annotations.format})")
    note = f"{len(images)} of {len(annotations)} images, {annotations.num_objects} objects in all; crowds are dashed"
    with atomic_write(out, "w") as file:
        file.write(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            f"<title>{title}</title><style>{_STYLE}</style></head>\n<body class='{shown}'>\n<h1>{title}</h1>"
            f"<p class='note'>{html.escape(note)}</p>\n<div class='bar'>{_controls(annotations, parts)}</div>\n<main>\n"
        )
        file.write("\n".join(figures))
        file.write(f"\n</main><script>{_SCRIPT}</script></body></html>\n")


def _controls(annotations: Annotations, parts: dict[str, bool]) -> str:
    switches = [
        f"<label><input type='checkbox' data-part='{part}' checked>{part}</label>"
        for part, is_there in parts.items()
        if is_there
    ]
    classes = [
        f"<label><input type='checkbox' data-label='{label}' checked>"
        f"<i style='background:{_colour_of(label)}'></i>{html.escape(name)}</label>"
        for label, name in enumerate(annotations.class_names)
    ]
    return "".join(switches + classes)


def _colour_of(label: int) -> str:
    """Hues a golden angle apart, so that neighbouring classes differ most."""
    return f"hsl({label * 137.508 % 360:.0f} 85% 50%)"


def _figure(annotations: Annotations, index: int) -> str:
    path, size = annotations.path(index), annotations.size(index)
    caption = html.escape(f"{annotations.image(index).file_name} · {size[1]} x {size[0]}")
    try:
        picture = load_image(path)
        if picture.shape[:2] != size:
            raise ImageError(f"the picture is {picture.shape[1]} x {picture.shape[0]}; what is annotated is not drawn")
    except (BoxwrightError, OSError) as error:
        return f"<figure><figcaption>{caption}<div class='fault'>{html.escape(str(error))}</div></figcaption></figure>"
    thumbnail = _thumbnail(picture)
    objects = annotations.objects(index)
    # Large objects first, so that small ones lie on top and can be seen.
    objects.sort(key=lambda info: -info.box_xywh[2] * info.box_xywh[3])
    drawn = "".join(_object(info, size, annotations.categories) for info in objects)
    return (
        f"<figure><svg viewBox='0 0 {size[1]} {size[0]}'><image href='data:image/jpeg;base64,{thumbnail}' "
        f"width='{size[1]}' height='{size[0]}' preserveAspectRatio='none'/>{drawn}</svg>"
        f"<figcaption>{caption} · {len(objects)} objects</figcaption></figure>"
    )


def _thumbnail(image: RgbImage) -> str:
    scale = THUMBNAIL / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _object(info: ObjectInfo, size: Size, categories: Sequence[Category]) -> str:
    category, colour = categories[info.label], _colour_of(info.label)
    unit = max(size) / THUMBNAIL  # what is one pixel of the thumbnail
    parts = [_mask(info.segment, size, colour)] if info.segment else []
    if np.isfinite(info.box_xywh).all():
        x, y, width, height = info.box_xywh
        sides: Attributes = {"x": x, "y": y, "width": max(width, 0.0), "height": max(height, 0.0), "stroke": colour}
        parts.append(_element("rect", "box", sides))
        place: Attributes = {"x": x + 2 * unit, "y": y + 13 * unit, "font-size": 12 * unit}
        parts.append(_element("text", "name", place, category.name))
    if info.keypoints is not None:
        parts.append(_keypoints(info, category, colour, unit))
    return f"<g class='c{info.label}{' crowd' * info.is_crowd}'>{''.join(parts)}</g>"


def _mask(segment: Segment, size: Size, colour: str) -> str:
    rings = segment if isinstance(segment, list) else bitmap_to_rings(segment_to_bitmap(segment, size))
    path = "".join(f"M{' '.join(f'{value:g}' for value in ring.tolist())}Z" for ring in rings)
    return _element("path", "mask", {"fill": colour, "stroke": colour, "d": path})


def _keypoints(info: ObjectInfo, category: Category, colour: str, unit: float) -> str:
    """Points that are labelled but hidden are drawn hollow."""
    assert info.keypoints is not None
    points = info.keypoints.tolist()
    bones = [
        _element("line", "bone", {"stroke": colour, **_line_ends(points[a], points[b])})
        for a, b in category.skeleton
        if points[a][2] > 0 and points[b][2] > 0
    ]
    looks: Attributes = {"r": 2.5 * unit, "fill": colour, "stroke": colour}
    dots = [
        _element("circle", "point" if seen > 1 else "point hidden", {"cx": x, "cy": y, **looks})
        for x, y, seen in points
        if seen > 0
    ]
    return "".join(bones + dots)


def _line_ends(a: Sequence[float], b: Sequence[float]) -> Attributes:
    return {"x1": a[0], "y1": a[1], "x2": b[0], "y2": b[1]}


def _element(tag: str, css: str, attributes: Attributes, text: str = "") -> str:
    written = "".join(
        f" {name}='{value if isinstance(value, str) else f'{value:g}'}'" for name, value in attributes.items()
    )
    return f"<{tag} class='{css}'{written}>{html.escape(text)}</{tag}>"
