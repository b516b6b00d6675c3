"""What the head of a picture file says: its kind, its size, how the camera was held. Nothing is decoded.

Pictures are recognised by their content and never by their name, and only the kinds here are handed to a decoder:
each has one that runs inside this process.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from boxwright.errors import ImageError
from boxwright.types import Size

Kind = Literal["JPEG", "PNG", "BMP", "WebP", "TIFF", "GIF", "PPM"]

ORIENTATION = 0x0112  # the tag that says how the camera was held
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 0x100, 0x101, 0x102, 0x115, 0x142, 0x143
_TYPE_BYTES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # of one value, by the type of a TIFF's tag
_PIXEL_BITS = 64  # a pixel of a TIFF with more counts as several
_FRAMES = {0xC0 + low for low in range(16)} - {0xC4, 0xC8, 0xCC}  # JPEG's markers with a size


@dataclass(frozen=True)
class Head:
    """stored: height and width of the pixels as they lie in the file. num_pixels: what the decoder has to hold, which
    tiles and many channels make more than the product of these. orientation: EXIF's, 1 for upright; its two bytes stand
    at `orientation_at`, the lower one first where `is_little`."""

    kind: Kind
    stored: Size
    num_pixels: int
    orientation: int = 1
    orientation_at: int | None = None
    is_little: bool = False

    @property
    def upright(self) -> Size:
        """(height, width) once turned as `orientation` says; 5 to 8 lie on their side."""
        return (self.stored[1], self.stored[0]) if self.orientation >= 5 else self.stored


def read_head(file: BinaryIO, *, name: str) -> Head:
    """Of an open file, wherever it stands. ImageError where it is no picture of a known kind, or has no size."""
    file.seek(0)
    start = file.read(16)
    find = next((find for matches, find in _KINDS if matches(start)), None)
    if not start:
        raise ImageError(f"{name} is empty")
    if find is None:
        raise ImageError(f"{name} cannot be decoded: its content is none of JPEG, PNG, BMP, WebP, TIFF, GIF and PPM")
    try:
        head = find(file)
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        raise ImageError(f"{name} cannot be decoded: its head is cut off or damaged") from error
    if min(head.stored) < 1:
        raise ImageError(f"{name} cannot be decoded: it says that it has {head.stored[0]} x {head.stored[1]} pixels")
    return head


def _simple(kind: Kind, height: int, width: int) -> Head:
    return Head(kind, (height, width), height * width)


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _jpeg(file: BinaryIO) -> Head:
    size: Size | None = None
    exif: int | None = None
    for marker, length in _jpeg_segments(file):
        if marker in _FRAMES and size is None:
            _, height, width = _unpack(file, ">BHH")
            size = height, width
        elif marker == 0xE1 and exif is None and length >= 8 and file.read(6) == b"Exif\0\0":
            exif = file.tell()
    if size is None:
        raise ValueError("no frame")
    return _oriented(file, _simple("JPEG", *size), exif)


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Marker and length of each segment before the first scan; the file stands at the segment's content."""
    file.seek(2)
    while byte := file.read(1):
        if byte != b"\xff":  # decoders skip what lies between segments
            continue
        while byte == b"\xff":
            byte = file.read(1)
        marker = byte[0]
        if marker in (0xDA, 0xD9):
            return
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # these have no length
            continue
        (length,) = _unpack(file, ">H")
        start = file.tell()
        yield marker, length - 2
        file.seek(start + max(length - 2, 0))


def _png(file: BinaryIO) -> Head:
    file.seek(16)
    width, height = _unpack(file, ">II")
    exif: int | None = None
    position = 8
    while exif is None:
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8 or chunk[4:] == b"IEND":
            break
        if chunk[4:] == b"eXIf":
            exif = file.tell()
        position += 12 + int.from_bytes(chunk[:4], "big")
    return _oriented(file, _simple("PNG", height, width), exif)


def _bmp(file: BinaryIO) -> Head:
    file.seek(14)
    (header,) = _unpack(file, "<I")
    width, height = _unpack(file, "<HH") if header == 12 else _unpack(file, "<ii")
    return _simple("BMP", abs(height), width)


def _webp(file: BinaryIO) -> Head:
    file.seek(12)
    kind = file.read(4)
    file.seek(20)
    start = file.read(10)
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(start[4:7], "little"), 1 + int.from_bytes(start[7:10], "little")
    elif kind == b"VP8L" and start[0] == 0x2F:
        bits = int.from_bytes(start[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", start[6:10]))
    else:
        raise ValueError(f"{kind!r}")
    return _oriented(file, _simple("WebP", height, width), _webp_exif(file) if kind == b"VP8X" else None)


def _webp_exif(file: BinaryIO) -> int | None:
    position = 12
    while True:
        file.seek(position)
        chunk = file.read(8)
        if len(chunk) < 8:
            return None
        if chunk[:4] == b"EXIF":
            return file.tell() + 6 * (file.read(6) == b"Exif\0\0")
        length = int.from_bytes(chunk[4:], "little")
        position += 8 + length + length % 2


def _gif(file: BinaryIO) -> Head:
    """The first frame may be larger than the screen, which then grows."""
    file.seek(6)
    width, height, flags = _unpack(file, "<HHB")
    file.seek(13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0))
    while block := file.read(1):
        if block == b",":
            left, top, inner_width, inner_height = _unpack(file, "<HHHH")
            return _simple("GIF", max(height, top + inner_height), max(width, left + inner_width))
        if block == b"!":
            file.read(1)
            while length := file.read(1)[0]:
                file.seek(length, 1)
    raise ValueError("no frame")


def _ppm(file: BinaryIO) -> Head:
    file.seek(2)
    words: list[bytes] = []
    for line in file.read(1 << 16).splitlines():
        words += line.partition(b"#")[0].split()
        if len(words) >= 2:
            break
    return _simple("PPM", int(words[1]), int(words[0]))


def _tiff(file: BinaryIO) -> Head:
    tags = _tags(file, 0)
    size_of_file = file.seek(0, 2)
    if sum(tag.num_bytes for tag in tags.values()) > 4 * size_of_file + 2**16:
        raise ValueError("tags larger than the file")  # a decoder would copy one stretch of it again and again
    height, width = tags[_HEIGHT].value, tags[_WIDTH].value
    bits = (tags[_BITS].value if _BITS in tags else 1) * (tags[_SAMPLES].value if _SAMPLES in tags else 1)
    tile = tags[_TILE_WIDTH].value * tags[_TILE_HEIGHT].value if {_TILE_WIDTH, _TILE_HEIGHT} <= tags.keys() else 0
    num_pixels = max(height * width, tile) * -(-max(bits, 1) // _PIXEL_BITS)
    return _oriented(file, Head("TIFF", (height, width), num_pixels), 0, tags)


@dataclass(frozen=True)
class _Tag:
    value: int  # of the first number where the tag holds whole numbers
    at: int  # where its bytes stand, or their place
    num_bytes: int


def _tags(file: BinaryIO, base: int) -> dict[int, _Tag]:
    """The first directory of a TIFF that begins at `base`; of a tag that is there twice, the first."""
    file.seek(base)
    order = {b"II": "<", b"MM": ">"}[file.read(2)]
    (version,) = _unpack(file, f"{order}H")
    is_big = version == 43
    if is_big:
        file.seek(base + 8)
    (place,) = _unpack(file, f"{order}{'Q' if is_big else 'I'}")
    file.seek(base + place)
    (count,) = _unpack(file, f"{order}{'Q' if is_big else 'H'}")
    start, step, room = file.tell(), 20 if is_big else 12, 8 if is_big else 4
    content = file.read(min(count, 1 << 16) * step)
    tags: dict[int, _Tag] = {}
    for position in range(0, len(content) - step + 1, step):
        tag, kind = struct.unpack_from(f"{order}HH", content, position)
        (number,) = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", content, position + 4)
        each = _TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 0
        value = _first_number(file, base, order, content[position + step - room : position + step], each, number)
        tags.setdefault(tag, _Tag(value, start + position + step - room, each * number))
    return tags


def _first_number(file: BinaryIO, base: int, order: str, room: bytes, each: int, number: int) -> int:
    """From the `room` in the entry, or from where it points where there is not enough of it."""
    endian: Literal["little", "big"] = "little" if order == "<" else "big"
    if each * number <= len(room):
        return int.from_bytes(room[:each], endian)
    file.seek(base + int.from_bytes(room, endian))
    return int.from_bytes(file.read(each), endian)


def _oriented(file: BinaryIO, head: Head, exif: int | None, tags: dict[int, _Tag] | None = None) -> Head:
    """The head with the orientation of the EXIF block that begins at `exif`, where there is one that can be read."""
    if exif is None:
        return head
    try:
        tag = (tags or _tags(file, exif)).get(ORIENTATION)
    except (struct.error, LookupError, ValueError, OverflowError):
        return head
    if tag is None or tag.value not in range(1, 9):
        return head
    file.seek(exif)
    return replace(head, orientation=tag.value, orientation_at=tag.at, is_little=file.read(2) == b"II")


_KINDS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO], Head]], ...] = (
    (lambda start: start[:3] == b"\xff\xd8\xff", _jpeg),
    (lambda start: start[:8] == b"\x89PNG\r\n\x1a\n", _png),
    (lambda start: start[:2] == b"BM", _bmp),
    (lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP", _webp),
    (lambda start: start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _tiff),
    (lambda start: start[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda start: start[:1] == b"P" and start[1:2] in b"123456" and start[2:3].isspace(), _ppm),
)
