"""The EXIF orientation of an encoded picture: taken away without touching the pixels."""

import struct

import cv2
import numpy as np

from boxwright.data.image import ORIENTATION
from boxwright.errors import ImageError


def without_rotation(data: bytes, *, suffix: str) -> bytes:
    """The same picture, to be shown as its pixels are stored.

    In a JPEG two bytes of its EXIF block change; any other kind is decoded and encoded again without its EXIF.
    """
    if data.startswith(b"\xff\xd8"):
        place = _orientation_place(data)
        return data if place is None else data[: place[0]] + place[1] + data[place[0] + 2 :]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    done, encoded = (False, None) if pixels is None else cv2.imencode(suffix, pixels)
    if not done or encoded is None:
        raise ImageError(f"a picture of the kind {suffix!r} cannot be written without its EXIF rotation")
    written: bytes = encoded.tobytes()
    return written


def _orientation_place(data: bytes) -> tuple[int, bytes] | None:
    """Where the value stands in a JPEG, and the two bytes for `upright` in that block's byte order."""
    block = data.find(b"Exif\x00\x00")
    base = block + 6
    order = {b"II": "<", b"MM": ">"}.get(data[base : base + 2])
    if block < 0 or order is None or len(data) < base + 8:
        return None
    directory = base + struct.unpack_from(f"{order}I", data, base + 4)[0]
    count = struct.unpack_from(f"{order}H", data, directory)[0] if directory + 2 <= len(data) else 0
    for entry in range(directory + 2, min(directory + 2 + 12 * count, len(data) - 11), 12):
        if struct.unpack_from(f"{order}H", data, entry)[0] == ORIENTATION:
            return entry + 8, struct.pack(f"{order}H", 1)
    return None
