"""The worst images for a page: small pictures, and what is annotated and found on them as outlines to draw on top."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from boxwright.data.image import load_image
from boxwright.errors import BoxwrightError
from boxwright.evaluation.analysis import Analysis
from boxwright.evaluation.ground_truth import GroundTruth
from boxwright.evaluation.runs import Runs
from boxwright.evaluation.verdicts import Verdicts
from boxwright.evaluation.worst_images import ImageReport
from boxwright.report.payload import Plain, short

LONG_SIDE, QUALITY = 560, 80
MOST_OBJECTS = 60  # detections of an image, best first; those below are not worth their bytes

FindPicture = Callable[[int], Path | None]  # position of an image -> its file


class Thumbnails:
    """Pictures by image id, each held once however many kinds show it, until `budget` bytes are full."""

    def __init__(self, ground_truth: GroundTruth, find: FindPicture, *, budget: int) -> None:
        self.ground_truth, self.find, self.budget = ground_truth, find, budget
        self.pictures: dict[str, Plain] = {}

    def image(self, analysis: Analysis, report: ImageReport) -> Plain | None:
        """One image with its objects, or None where the page is full."""
        truth, verdicts = self.ground_truth, analysis.verdicts
        position = truth.image_index[report.image_id]
        height, width = self._size(verdicts, position)
        scale = min(LONG_SIDE / max(height, width, 1), 1.0)
        key = str(report.image_id)
        if key not in self.pictures:
            picture = self._picture(position, (round(width * scale), round(height * scale)))
            if self.budget < len(picture):
                return None
            self.budget -= len(picture)
            self.pictures[key] = {"src": picture, "w": round(width * scale), "h": round(height * scale)}
        objects = _Objects(analysis, position, scale, self.pictures[key])
        plain = {"id": report.image_id, "file": report.file_name, "gt": objects.annotated(), "dt": objects.found()}
        self.budget -= sum(len(str(part)) for part in (plain["gt"], plain["dt"]))
        return plain

    def _size(self, verdicts: Verdicts, position: int) -> tuple[int, int]:
        """(height, width) as the file says, else what holds all boxes."""
        height, width = self.ground_truth.image_sizes[position].tolist()
        if height > 0 and width > 0:
            return height, width
        boxes = np.concatenate(
            [
                self.ground_truth.boxes_xywh[self.ground_truth.image == position],
                verdicts.table.boxes_xywh[verdicts.table.image == position],
                np.ones((1, 4)),
            ]
        )
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
        return int(bottom) + 1, int(right) + 1

    def _picture(self, position: int, size: tuple[int, int]) -> str:
        """A data address; empty where there is no picture, and the outlines are drawn on plain ground."""
        path = self.find(position)
        if path is None:
            return ""
        try:
            image = load_image(path)
        except (BoxwrightError, OSError):
            return ""
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
        return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


class _Objects:
    """What lies on one image, in pixels of its thumbnail."""

    def __init__(self, analysis: Analysis, position: int, scale: float, picture: Plain) -> None:
        self.analysis, self.verdicts, self.position, self.scale = analysis, analysis.verdicts, position, scale
        self.size = (picture["h"], picture["w"])

    def annotated(self) -> list[Plain]:
        """c category, b box, f score of the detection that found it or -1, x 1 for what is not asked for."""
        truth, verdicts = self.verdicts.ground_truth, self.verdicts
        rows = range(int(truth.first[self.position]), int(truth.first[self.position + 1]))
        has_masks = self.analysis.kind == "mask"
        plain = []
        for row in rows:
            finder = int(verdicts.finder[row])
            item: Plain = {
                "c": int(truth.category[row]),
                "b": self._box(truth.boxes_xywh[row]),
                "f": short(verdicts.table.scores[finder]) if finder >= 0 else -1,
                "x": int(not verdicts.is_wanted[row]),
            }
            if has_masks:
                item["m"] = self._outline(truth.runs, row)
            if self.analysis.kind == "keypoint" and truth.keypoints is not None:
                item["k"] = self._points(truth.keypoints[row])
            plain.append(item)
        return plain

    def found(self) -> list[Plain]:
        """c category, b box, s score, v 1 right, 0 wrong, -1 neither, e position of the kind of error or -1."""
        table, verdicts = self.verdicts.table, self.verdicts
        rows = np.flatnonzero(table.image == self.position)
        rows = rows[np.argsort(-table.scores[rows], kind="stable")][:MOST_OBJECTS]
        errors = self.analysis.errors
        plain = []
        for row in rows.tolist():
            item: Plain = {
                "c": int(table.category[row]),
                "b": self._box(table.boxes_xywh[row]),
                "s": short(table.scores[row]),
                "v": 1 if verdicts.is_true[row] else 0 if verdicts.is_false[row] else -1,
                "e": -1 if errors is None else int(errors.kind_of_detection[row]),
            }
            if self.analysis.kind == "mask" and table.runs is not None:
                item["m"] = self._outline(table.runs, row)
            if self.analysis.kind == "keypoint" and table.keypoints is not None:
                item["k"] = self._points(table.keypoints[row])
            plain.append(item)
        return plain

    def _box(self, box_xywh: NDArray[np.float64]) -> list[float]:
        return [short(value, 1) for value in (box_xywh * self.scale).tolist()]

    def _points(self, keypoints: NDArray[np.float64]) -> list[float]:
        """x, y, x, y, ...; -1, -1 for a point that is not labelled."""
        points = np.round(keypoints[:, :2] * self.scale, 1)
        if keypoints.shape[1] == 3:
            points[keypoints[:, 2] <= 0] = -1
        flat: list[float] = points.ravel().tolist()
        return flat

    def _outline(self, runs: Runs, row: int) -> str:
        """An SVG path along the mask, as fine as the thumbnail can show it."""
        rle: dict[str, Any] = runs.rle(row)
        bitmap = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode("ascii")})
        small = cv2.resize(bitmap * 255, self.size[::-1], interpolation=cv2.INTER_AREA) >= 128
        rings, _ = cv2.findContours(small.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        parts = [cv2.approxPolyDP(ring, 0.8, True)[:, 0].tolist() for ring in rings if len(ring) > 2]
        return "".join("M" + " ".join(f"{x} {y}" for x, y in part) + "Z" for part in parts)
