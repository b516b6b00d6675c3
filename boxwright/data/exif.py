"""The EXIF orientation of an encoded picture: taken away without touching the pixels."""

import io
import zlib

from boxwright.data.picture_head import read_head


def without_rotation(data: bytes, *, name: str) -> bytes:
    """The same picture, to be shown as its pixels are stored: two bytes say `upright`."""
    head = read_head(io.BytesIO(data), name=name)
    if head.orientation_at is None:
        return data
    changed = bytearray(data)
    changed[head.orientation_at : head.orientation_at + 2] = (1).to_bytes(2, "little" if head.is_little else "big")
    if head.kind == "PNG":
        _renew_checksum(changed, changed.rindex(b"eXIf", 0, head.orientation_at))
    return bytes(changed)


def _renew_checksum(png: bytearray, chunk: int) -> None:
    """Of the chunk whose name stands at `chunk`."""
    end = chunk + 4 + int.from_bytes(png[chunk - 4 : chunk], "big")
    png[end : end + 4] = zlib.crc32(png[chunk:end]).to_bytes(4, "big")
