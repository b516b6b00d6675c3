"""Small files that ask a decoder for much, each by a name that says how."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def hostile_pictures() -> dict[str, bytes]:
    return {
        "WebP of 34 bytes": _webp(16383, 16383),
        "JPEG of 4 gigapixels": _jpeg(65500, 65500),
        "JPEG of a thousand scans": _jpeg(4000, 4000, scans=1000),
        "PNG of a gigapixel": _png(32768, 32768),
        "PNG of 4 gigapixels in a megabyte": _png(65535, 65535, rows=60000),
        "PNG with a text that unpacks to a gigabyte": _png(8, 8, chunks=[(b"zTXt", b"a\0\0" + _zeros(2**30))]),
        "PNG with a profile that unpacks to a gigabyte": _png(8, 8, chunks=[(b"iCCP", b"a\0\0" + _zeros(2**30))]),
        "PNG that says it has two billion frames": _png(8, 8, chunks=[(b"acTL", struct.pack(">II", 2**31 - 1, 0))]),
        "PNG with a frame outside": _png(8, 8, chunks=[(b"acTL", struct.pack(">II", 1, 0)), _frame(2**30, 2**30)]),
        "TIFF of a gigapixel": _tiff({0x100: 32768, 0x101: 32768}),
        "TIFF of one tile of a gigapixel": _tiff({0x142: 32768, 0x143: 32768, 0x144: 8, 0x145: 1000}),
        "TIFF of 65535 channels": _tiff({0x100: 4000, 0x101: 4000, 0x115: 65535}),
        "TIFF whose strip is longer than the file": _tiff({0x117: 2**31 - 1}),
        "TIFF whose strip lies outside": _tiff({0x111: 2**31 - 1}),
        "TIFF of two billion strips": _tiff({0x111: (8, 2**31 - 1), 0x117: (8, 2**31 - 1)}),
        "TIFF of tags over one stretch": _overlapping_tags(),
        "GIF of a gigapixel": b"GIF89a" + struct.pack("<HHBBB", 32768, 32768, 0, 0, 0) + b",",
        "GIF whose frame is larger than its screen": _gif(struct.pack("<HHHH", 60000, 60000, 60000, 60000)),
        "BMP of a gigapixel": b"BM" + struct.pack("<IIIIiiHHI", 100, 0, 54, 40, 32768, 32768, 1, 8, 1) + bytes(60),
        "PPM of a gigapixel": b"P6 32768 32768 255\n" + bytes(100),
        "PPM of an endless number": b"P6 " + b"9" * 60000 + b" 1 255\n",
    }


def many_frames(kind: str, count: int) -> bytes:
    """The first of `count` frames is red, the others are blue."""
    first = Image.new("RGB", (16, 8), "red")
    others = [Image.new("RGB", (16, 8), (0, 0, 255 - number % 2)) for number in range(count - 1)]
    file = io.BytesIO()
    first.save(file, kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def _webp(height: int, width: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    body = b"\x2f" + struct.pack("<I", bits) + bytes(9)
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def _jpeg(height: int, width: int, *, scans: int = 1) -> bytes:
    """A progressive one of a single grey channel, whose scans hold nothing."""
    table = b"\xff\xdb" + struct.pack(">HB", 67, 0) + b"\1" * 64
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    huffman = b"\xff\xc4" + struct.pack(">HB", 20, 0) + b"\1" + bytes(15) + b"\0"
    huffman += b"\xff\xc4" + struct.pack(">HB", 20, 16) + b"\1" + bytes(15) + b"\xe0"
    first = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 0, 0) + bytes(20)
    further = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 63, 0) + bytes(20)
    return b"\xff\xd8" + table + frame + huffman + first + further * (scans - 1) + b"\xff\xd9"


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(count >> 20)) + packer.flush()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _frame(height: int, width: int) -> tuple[bytes, bytes]:
    return b"fcTL", struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 1, 0, 0)


def _png(height: int, width: int, *, rows: int = 8, chunks: list[tuple[bytes, bytes]] | None = None) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = _chunk(b"IDAT", zlib.compress(bytes((width + 1) * min(rows, 2**28 // width, height)), 9))
    extra = b"".join(_chunk(*chunk) for chunk in chunks or ())
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + _chunk(b"IEND", b"")


def _tiff(changes: dict[int, int | tuple[int, int]]) -> bytes:
    """8 x 8 grey pixels, but for the tags in `changes`: a number, or how many there are and where."""
    tags: dict[int, int | tuple[int, int]] = {0x100: 8, 0x101: 8, 0x102: 8, 0x103: 1, 0x106: 1, 0x111: 8, 0x115: 1}
    tags |= {0x116: 8, 0x117: 64} | changes
    entries = b""
    for tag, value in sorted(tags.items()):
        count, number = (1, value) if isinstance(value, int) else (value[1], value[0])
        entries += struct.pack("<HHII", tag, 4, count, number)
    return b"II*\0" + struct.pack("<I", 8 + 64) + bytes(64) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _overlapping_tags() -> bytes:
    """60,000 tags that all point to the same half megabyte."""
    tags: dict[int, int | tuple[int, int]] = {0x200 + number: (8, 125_000) for number in range(60_000)}
    return _tiff(tags) + bytes(300_000)


def _gif(frame: bytes) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + b"," + frame + b"\0\2\2\x4c\1\0;"


def as_pixels(height: int, width: int) -> np.ndarray:
    """(height, width, 3): red, green, blue and white quarters, so that every way to turn it looks different."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2, 0] = 255
    picture[: height // 2, width // 2 :, 1] = 255
    picture[height // 2 :, : width // 2, 2] = 255
    picture[height // 2 :, width // 2 :] = 255
    return picture
