"""Detections painted on their picture: masks, boxes, keypoints with limbs, labels that can be read."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boxwright.errors import ImageError
from boxwright.types import Detections, Masks

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

COCO_LIMBS = (
    *((15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8)),
    *((7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
)
MASK_OPACITY = 0.45
GOLDEN_ANGLE = 0.381966  # successive hues this share of the circle apart stay distinct however many there are


@dataclass(frozen=True)
class _Style:
    """Sizes that follow from the picture's, so that lines and letters look alike on any."""

    line: int
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont

    @classmethod
    def fitting(cls, width: int, height: int) -> "_Style":
        mean_side = (width * height) ** 0.5
        return cls(
            line=max(1, round(mean_side / 300)), font=ImageFont.load_default(size=max(11, round(mean_side / 42)))
        )


def draw_detections(
    detections: Detections,
    *,
    image: np.ndarray | None = None,
    labels: bool = True,
    limbs: Sequence[tuple[int, int]] | None = None,
    keypoint_score: float = 0.05,
) -> Image.Image:
    """A new RGB picture of the original image with every detection on it.

    `image` is (H, W, 3) uint8 RGB; by default the one the detector saw. `limbs` are pairs of keypoints to join (COCO's
    for 17 points); points with a lower score than `keypoint_score` are left out.
    """
    picture = image if image is not None else detections.image
    if picture is None:
        raise ImageError("these detections carry no picture (they were loaded from a file?); give draw(image=...)")
    if picture.shape[:2] != detections.size:
        raise ImageError(f"the picture is {picture.shape[:2]}, the detections are of one of {detections.size}")
    colours = _colours(detections)
    canvas = Image.fromarray(_paint_masks(picture, detections, colours))
    style = _Style.fitting(*canvas.size)
    draw = ImageDraw.Draw(canvas)
    for box, colour in zip(detections.boxes.tolist(), colours, strict=True):
        draw.rectangle(_clipped(box, canvas.size), outline=colour, width=style.line)
    _draw_keypoints(draw, detections, colours, style, limbs, keypoint_score)
    if labels:
        _draw_labels(draw, detections, colours, style, canvas.size)
    return canvas


def enlarged(detections: Detections, image: np.ndarray, factor: int) -> Detections:
    """The same on a picture `factor` times as large, so that labels do not hide what is small."""
    size = (detections.size[0] * factor, detections.size[1] * factor)
    segments = detections.segments
    if segments is not None:
        bitmaps = segments.bitmaps().repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)
        segments = Masks.from_bitmaps(bitmaps)
    keypoints = detections.keypoints
    if keypoints is not None:
        keypoints = keypoints * keypoints.new_tensor([factor, factor, 1])
    picture = np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return replace(
        detections, boxes=detections.boxes * factor, size=size, segments=segments, keypoints=keypoints, image=picture
    )


def class_colour(label: int, shade: int = 0) -> Colour:
    """A colour of its own for each class; `shade` varies it slightly among objects of one class."""
    hue = (label * GOLDEN_ANGLE + 0.02 * (shade % 5 - 2)) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 - 0.1 * (shade % 3), 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _colours(detections: Detections) -> list[Colour]:
    """Objects differ in shade within a class; with a single class, in hue, or a crowd would be one blob."""
    labels = detections.labels.tolist()
    if len(set(labels)) == 1:
        return [class_colour(i) for i in range(len(labels))]
    return [class_colour(label, shade) for shade, label in enumerate(labels)]


def _paint_masks(picture: np.ndarray, detections: Detections, colours: list[Colour]) -> np.ndarray:
    """Blends masks over a copy, one at a time so that memory stays that of one bitmap; best scores end on top."""
    painted = picture.copy()
    if detections.segments is None:
        return painted
    for i in reversed(range(len(detections))):
        mask = detections.segments[i].bitmaps()[0].numpy()
        colour = np.array(colours[i], dtype=np.float32)
        painted[mask] = (1 - MASK_OPACITY) * painted[mask] + MASK_OPACITY * colour
        painted[_outline(mask)] = colour
    return painted


def _outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that touch its outside."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    outline: np.ndarray = mask & ~inner
    return outline


def _clipped(box: Sequence[float], size: tuple[int, int]) -> Rectangle:
    width, height = size
    x1, x2 = (min(max(x, 0), width - 1) for x in (box[0], box[2]))
    y1, y2 = (min(max(y, 0), height - 1) for y in (box[1], box[3]))
    return x1, y1, max(x1, x2), max(y1, y2)


def _draw_keypoints(
    draw: ImageDraw.ImageDraw,
    detections: Detections,
    colours: list[Colour],
    style: _Style,
    limbs: Sequence[tuple[int, int]] | None,
    lowest_score: float,
) -> None:
    if detections.keypoints is None:
        return
    if limbs is None:
        limbs = COCO_LIMBS if detections.keypoints.shape[1] == 17 else ()
    radius = style.line + 1
    for points, colour in zip(detections.keypoints.tolist(), colours, strict=True):
        for start, end in limbs:
            if min(points[start][2], points[end][2]) >= lowest_score:
                draw.line([*points[start][:2], *points[end][:2]], fill=colour, width=style.line + 1)
        for x, y, score in points:
            if score >= lowest_score:
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="white")


def _draw_labels(
    draw: ImageDraw.ImageDraw, detections: Detections, colours: list[Colour], style: _Style, size: tuple[int, int]
) -> None:
    """Each label at the first free place around its box: above, inside at the top, below; else above all the same."""
    taken: list[Rectangle] = []
    rows = zip(detections.boxes.tolist(), detections.names, detections.scores.tolist(), colours, strict=True)
    for box, name, score, colour in rows:
        text = f"{name} {score:.0%}"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=style.font)
        width, height = right - left + 6, bottom - top + 4
        places = [_place(box[0], y, width, height, size) for y in (box[1] - height, box[1], box[3])]
        place = next((p for p in places if not any(_overlap(p, other) for other in taken)), places[0])
        taken.append(place)
        draw.rectangle(place, fill=colour)
        draw.text((place[0] + 3 - left, place[1] + 2 - top), text, fill=_text_colour(colour), font=style.font)


def _place(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> Rectangle:
    x = min(max(x, 0), max(size[0] - width, 0))
    y = min(max(y, 0), max(size[1] - height, 0))
    return x, y, x + width, y + height


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _text_colour(background: Colour) -> str:
    red, green, blue = background
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
