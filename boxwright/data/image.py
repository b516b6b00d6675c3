"""Pictures in: anything a user may hand over becomes (H, W, 3) uint8 RGB, upright, or an ImageError that names it."""

import io
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from boxwright.errors import DownloadError, ImageError

ImageSource = str | Path | bytes | Image.Image | NDArray[Any] | Tensor
RgbImage = NDArray[np.uint8]

DOWNLOAD_LIMIT = 256 * 2**20  # bytes; a picture larger than this is a mistake or an attack
DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer
MAX_PIXELS = 2**30  # no decoder opens more, so annotations cannot mean it
ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
_REDUCED_FLAGS = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def load_image(source: ImageSource, *, reduce: int = 1) -> RgbImage:
    """A path, URL, encoded bytes, PIL image, (H, W[, C]) array or (C, H, W) tensor -> (H, W, 3) uint8 RGB.

    EXIF rotation is applied, alpha dropped, grey repeated, 16 bits cut to the upper 8, CMYK converted. Floats are
    taken as 0..1. `reduce` of 2, 4 or 8 decodes a JPEG at that fraction of its size, several times faster.
    """
    if isinstance(source, str | Path):
        text = str(source)
        if text.startswith(("http://", "https://")):
            return decode_image(_download(text), name=text, reduce=reduce)
        return decode_image(_read(Path(source)), name=text, reduce=reduce)
    if isinstance(source, bytes | bytearray | memoryview):
        return decode_image(bytes(source), name=f"an image of {len(source)} bytes", reduce=reduce)
    if isinstance(source, Image.Image):
        return _from_pillow(source, "a PIL image")
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    raise ImageError(f"cannot read an image from {type(source).__name__}; give a path, URL, PIL image, array or tensor")


def decode_image(data: bytes, *, name: str, reduce: int = 1) -> RgbImage:
    """Encoded bytes -> (H, W, 3) uint8 RGB. OpenCV first, for speed; Pillow for what OpenCV does not know."""
    if not data:
        raise ImageError(f"{name} is empty")
    if is_cut_jpeg(data):
        raise ImageError(f"{name} is a JPEG that breaks off before its end; copy or download it again")
    decoded = _decode_opencv(data, reduce)
    if decoded is not None:
        return decoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                return _from_pillow(picture, name)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, Warning) as error:
        raise ImageError(f"{name} cannot be decoded: {error}") from error


def _decode_opencv(data: bytes, reduce: int) -> RgbImage | None:
    if data.startswith(b"GIF"):  # OpenCV composes frames its own way; Pillow's first frame is what people expect
        return None
    buffer = np.frombuffer(data, dtype=np.uint8)
    if reduce > 1 and data.startswith(b"\xff\xd8"):
        bgr = _imdecode(buffer, _REDUCED_FLAGS[reduce])
        return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
    return _imdecode(buffer, cv2.IMREAD_COLOR_RGB)


def _imdecode(buffer: NDArray[np.uint8], flag: int) -> RgbImage | None:
    try:
        decoded: RgbImage | None = cv2.imdecode(buffer, flag)
    except cv2.error:
        return None
    return decoded


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture, from the head of the file alone."""
    (height, width), orientation = image_head(path)
    return (width, height) if is_turned(orientation) else (height, width)


def is_possible(size: tuple[int, int]) -> bool:
    """Whether a picture can be of this height and width."""
    return min(size) > 0 and size[0] * size[1] <= MAX_PIXELS


def is_turned(orientation: int) -> bool:
    """EXIF orientations from 5 on exchange height and width."""
    return orientation in (5, 6, 7, 8)


def image_head(path: Path) -> tuple[tuple[int, int], int]:
    """(height, width) as stored, and the EXIF orientation: 1 for upright."""
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            orientation = picture.getexif().get(ORIENTATION, 1)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path} cannot be read as an image: {error}") from error
    return (height, width), orientation if orientation in range(1, 9) else 1


def is_cut_jpeg(data: bytes) -> bool:
    """True for a JPEG whose last scan has no end marker: decoders may fill its rest with grey and say nothing."""
    if not data.startswith(b"\xff\xd8") or data.endswith(b"\xff\xd9"):
        return False
    return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error


def _download(url: str) -> bytes:
    try:
        with urlopen(url, timeout=DOWNLOAD_TIMEOUT) as answer:
            data: bytes = answer.read(DOWNLOAD_LIMIT + 1)
    except (URLError, OSError, ValueError) as error:
        raise DownloadError(f"{url} cannot be fetched: {getattr(error, 'reason', error)}") from error
    if len(data) > DOWNLOAD_LIMIT:
        raise DownloadError(f"{url} is larger than {DOWNLOAD_LIMIT >> 20} MiB; download it and give its path")
    return data


def _from_pillow(picture: Image.Image, name: str) -> RgbImage:
    try:
        upright = ImageOps.exif_transpose(picture) or picture
        if upright.mode.startswith(("I;16", "I")):
            levels = np.asarray(upright).astype(np.int64)
            return _grey_to_rgb((np.clip(levels, 0, 65535) >> 8).astype(np.uint8))
        return np.array(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{name} cannot be decoded: {error}") from error


def _from_tensor(tensor: Tensor) -> RgbImage:
    if tensor.ndim == 2:
        return _from_array(tensor.detach().cpu().numpy())
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3, 4):
        raise ImageError(f"an image tensor has shape {tuple(tensor.shape)}; expected (3, H, W), (1, H, W) or (H, W)")
    values = tensor.detach().cpu()
    if values.dtype == torch.bfloat16:
        values = values.float()
    return _from_array(values.permute(1, 2, 0).numpy())


def _from_array(array: NDArray[Any]) -> RgbImage:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ImageError(f"an image array has shape {array.shape}; expected (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)")
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
