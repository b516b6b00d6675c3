"""Pictures in: anything a user may hand over becomes (H, W, 3) uint8 RGB, upright, or an ImageError that names it."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageOps, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin
from torch import Tensor

from boxwright.data.picture_head import Head, read_head
from boxwright.errors import ConfigError, DownloadError, ImageError
from boxwright.files import MOST_OF_PICTURE, open_regular, read_bytes
from boxwright.types import Size
from boxwright.web import Bounds, WebError, ask, read_piece

ImageSource = str | Path | bytes | Image.Image | NDArray[Any] | Tensor
RgbImage = NDArray[np.uint8]

DOWNLOAD_LIMIT = 256 * 2**20  # bytes; a picture larger than this is a mistake or an attack
DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
DOWNLOAD_TIME = 600.0  # seconds altogether
_PIECE = 1 << 20  # bytes of it that are read at once
PIXELS_SETTING = "BOXWRIGHT_MAX_PIXELS"
MAX_PIXELS = 2**28
SMALL_PIXELS = 2**24  # any file may hold as many; more of them need bytes
PIXELS_PER_BYTE = 16
MAX_SCANS = 100  # of a JPEG: each goes over all pixels again, and costs a few bytes
POSSIBLE_PIXELS = 2**30  # no camera takes more, so annotations cannot mean it
_REDUCED_FLAGS = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION
# The classes themselves: none is found by content or name, and Pillow's own limit of pixels is not asked.
_PILLOW: dict[str, Any] = {
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
_RUN_NOTHING = {*map(str.upper, _PILLOW), "JPEG", "MPO", "BMP", "AVIF", "JPEG2000"}  # Pillow's formats


def load_image(source: ImageSource, *, reduce: int = 1) -> RgbImage:
    """A path, URL, encoded bytes, PIL image, (H, W[, C]) array or (C, H, W) tensor -> (H, W, 3) uint8 RGB.

    EXIF rotation is applied, alpha dropped, grey repeated, 16 bits cut to the upper 8, CMYK converted. Floats are
    taken as 0..1. `reduce` of 2, 4 or 8 decodes a JPEG at that fraction of its size, several times faster.
    """
    if isinstance(source, str | Path):
        text = str(source)
        if text.startswith(("http://", "https://")):
            return _decode_image(_download(text), name=text, reduce=reduce)
        return _decode_image(read_bytes(source, error=ImageError, most=MOST_OF_PICTURE), name=text, reduce=reduce)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode_image(bytes(source), name=f"an image of {len(source)} bytes", reduce=reduce)
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ImageError(f"cannot read an image from {type(source).__name__}; give a path, URL, PIL image, array or tensor")


def _decode_image(data: bytes, *, name: str, reduce: int = 1) -> RgbImage:
    """Encoded bytes -> (H, W, 3) uint8 RGB. OpenCV first, for speed; Pillow for what OpenCV does not know."""
    head = read_head(io.BytesIO(data), name=name)
    _need_warranted(head, len(data), name)
    if head.kind == "JPEG":
        _need_whole_jpeg(data, name)
    decoded = _decode_opencv(data, head, reduce)
    if decoded is None:
        decoded, reduce = _decode_pillow(data, head, name), 1
    if reduce == 1 and decoded.shape[:2] != head.upright:
        found, said = decoded.shape[:2], head.upright
        raise ImageError(
            f"{name} cannot be decoded: it says {said[0]} x {said[1]} pixels, and holds {found[0]} x {found[1]}"
        )
    return decoded


def _need_warranted(head: Head, num_bytes: int, name: str) -> None:
    """Before anything is decoded: a picture has no more pixels than are opened, nor than its bytes can fill."""
    allowed = _pixels_of_user()
    if allowed is None:
        allowed = min(MAX_PIXELS, max(SMALL_PIXELS, num_bytes * PIXELS_PER_BYTE))
    if head.num_pixels > allowed:
        height, width = head.stored
        raise ImageError(
            f"{name} says that it has {height} x {width} pixels; of a file of {num_bytes:,} bytes at most {allowed:,} "
            f"are decoded. If that is what it holds, set the environment's {PIXELS_SETTING}={head.num_pixels}"
        )


def _pixels_of_user() -> int | None:
    """What the environment allows, where it says anything."""
    text = os.environ.get(PIXELS_SETTING, "")
    if not text:
        return None
    if not text.isdecimal() or int(text[:20]) < 1:
        raise ConfigError(f"{PIXELS_SETTING} in the environment is {text[:40]!r}; expected a whole number of pixels")
    return int(text[:20])


def _decode_opencv(data: bytes, head: Head, reduce: int) -> RgbImage | None:
    # OpenCV composes frames its own way, and crashes where those of a PNG are damaged; Pillow gives the first one.
    if head.kind == "GIF" or (head.kind == "PNG" and b"acTL" in data):
        return None
    buffer = np.frombuffer(data, dtype=np.uint8)
    try:
        if reduce > 1 and head.kind == "JPEG":
            bgr = cv2.imdecode(buffer, _REDUCED_FLAGS[reduce] | _AS_STORED)
            decoded = None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
        else:
            decoded = cv2.imdecode(buffer, cv2.IMREAD_COLOR_RGB | _AS_STORED)
    except cv2.error:
        return None
    if decoded is None or head.kind == "TIFF":  # whose decoder turns it, whatever it is told
        return decoded
    return _turned(decoded, head.orientation)


def _decode_pillow(data: bytes, head: Head, name: str) -> RgbImage:
    opened = _PILLOW.get(head.kind)
    if opened is None:
        raise ImageError(f"{name} cannot be decoded: its content is damaged")
    try:
        with opened(io.BytesIO(data)) as picture:
            if head.kind == "TIFF":
                return _pixels(ImageOps.exif_transpose(picture))
            return _turned(_pixels(picture), head.orientation)
    except Exception as error:  # damaged content makes decoders raise anything
        raise ImageError(f"{name} cannot be decoded: {error}") from error


def _turned(picture: RgbImage, orientation: int) -> RgbImage:
    """Upright, as EXIF's orientation says."""
    return _TURNS[orientation](picture) if orientation in _TURNS else picture


_TURNS: dict[int, Callable[[RgbImage], RgbImage]] = {
    2: lambda picture: cv2.flip(picture, 1),
    3: lambda picture: cv2.flip(picture, -1),
    4: lambda picture: cv2.flip(picture, 0),
    5: lambda picture: cv2.transpose(picture),
    6: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_CLOCKWISE),
    7: lambda picture: cv2.flip(cv2.transpose(picture), -1),
    8: lambda picture: cv2.rotate(picture, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def image_size(path: Path) -> Size:
    """(height, width) of the upright picture, from the head of the file alone."""
    return image_head(path).upright


def image_head(path: Path) -> Head:
    """Of the file, whose pixels are not decoded; an ImageError as in `read_head`."""
    with open_regular(path, error=ImageError, most=MOST_OF_PICTURE) as file:
        return read_head(file, name=str(path))


def is_possible(size: Size) -> bool:
    """Whether a picture can be of this height and width."""
    return min(size) > 0 and size[0] * size[1] <= max(POSSIBLE_PIXELS, _pixels_of_user() or 0)


def _need_whole_jpeg(data: bytes, name: str) -> None:
    """Of a JPEG whose last scan has no end marker, decoders may fill the rest with grey and say nothing."""
    if not data.endswith(b"\xff\xd9") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ImageError(f"{name} is a JPEG that breaks off before its end; copy or download it again")
    num_scans = data.count(b"\xff\xda")
    if num_scans > MAX_SCANS:
        raise ImageError(f"{name} is a JPEG of {num_scans} scans; at most {MAX_SCANS} are decoded. Save it anew")


def _download(url: str) -> bytes:
    bounds = Bounds(silence=DOWNLOAD_TIMEOUT, end=monotonic() + DOWNLOAD_TIME, most=DOWNLOAD_LIMIT + _PIECE)
    data = bytearray()
    try:
        with ask(url, {}, bounds) as answer:
            while part := read_piece(answer, _PIECE):
                data += part
                if len(data) > DOWNLOAD_LIMIT:
                    raise DownloadError(f"{url} is larger than {DOWNLOAD_LIMIT >> 20} MiB; download it, give its path")
    except WebError as error:
        if monotonic() >= bounds.end:
            raise DownloadError(f"{url} takes over {DOWNLOAD_TIME:.0f} seconds; download it, give its path") from error
        raise DownloadError(f"{url} cannot be fetched: {error}") from error
    return bytes(data)


def _from_pillow(picture: Image.Image) -> RgbImage:
    if getattr(picture, "tile", None) and getattr(picture, "format", None) not in _RUN_NOTHING:
        raise ImageError(f"a PIL image of the format {picture.format} is not decoded here: give picture.copy()")
    _need_size((picture.height, picture.width), "a PIL image")
    try:
        return _pixels(ImageOps.exif_transpose(picture))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"a PIL image cannot be decoded: {error}") from error


def _pixels(picture: Image.Image) -> RgbImage:
    if picture.mode.startswith(("I;16", "I")):
        levels = np.asarray(picture).astype(np.int64)
        return _grey_to_rgb((np.clip(levels, 0, 65535) >> 8).astype(np.uint8))
    return np.array(picture.convert("RGB"))


def _need_size(size: Size, what: str) -> None:
    """Of a picture that is in memory already."""
    allowed = _pixels_of_user() or MAX_PIXELS
    if not 0 < size[0] * size[1] <= allowed:
        raise ImageError(
            f"{what} has {size[0]} x {size[1]} pixels; expected 1 to {allowed:,} ({PIXELS_SETTING} in the environment)"
        )


def _from_tensor(tensor: Tensor) -> RgbImage:
    if tensor.ndim == 2:
        return _from_array(_to_numpy(tensor))
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(f"an image tensor has shape {tuple(tensor.shape)}; expected (3, H, W), (1, H, W) or (H, W)")
    return _from_array(_to_numpy(tensor.permute(1, 2, 0)))


def _to_numpy(tensor: Tensor) -> NDArray[Any]:
    try:
        values = tensor.detach().cpu()
        array: NDArray[Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:  # sparse, quantised, or without data
        raise ImageError(f"an image tensor cannot be read: {' '.join(str(error).split())[:200]}") from error
    return array


def _from_array(array: NDArray[Any]) -> RgbImage:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ImageError(f"an image array has shape {array.shape}; expected (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)")
    _need_size((array.shape[0], array.shape[1]), "an image array")
    levels = _to_uint8(array)
    if levels.ndim == 2 or levels.shape[2] == 1:
        return _grey_to_rgb(levels.reshape(levels.shape[:2]))
    return np.ascontiguousarray(levels[:, :, :3])


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError("a float image must hold finite values in 0..1; divide by 255 or convert to uint8")
        return np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    raise ImageError(f"an image array is {array.dtype}; expected uint8, uint16, bool or floats in 0..1")


def _grey_to_rgb(grey: NDArray[np.uint8]) -> RgbImage:
    return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
