"""Small pictures of every kind, and what feeding one to the decoders may do. The long run is

    python -m tests.fuzz.pictures --minutes 10

Whatever the bytes are, a picture of the size that its head says comes back, or ImageError is raised. The decoders run
in a process of their own, under limits of memory and of processor time, whose death ends the run.
"""

import io
import multiprocessing
import random
import resource
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from boxwright.data.image import load_image
from boxwright.errors import ImageError
from tests.data.hostile_pictures import as_pixels, hostile_pictures, many_frames
from tests.fuzz.checkpoints import mutate
from tests.fuzz.long_run import SLOWEST, LongRun, Read

MEMORY = 2**29  # bytes that one small file may take
LARGEST = 2**16  # bytes of a case


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        options["exif"] = exif
    file = io.BytesIO()
    Image.fromarray(as_pixels(16, 24)).convert(mode).save(file, kind, **options)
    return file.getvalue()


SEEDS = {
    "JPEG": lambda: encoded("JPEG"),
    "progressive JPEG": lambda: encoded("JPEG", progressive=True),
    "CMYK JPEG": lambda: encoded("JPEG", "CMYK"),
    "PNG": lambda: encoded("PNG", "RGBA"),
    "PNG of a palette": lambda: encoded("PNG", "P"),
    "animated PNG": lambda: many_frames("PNG", 3),
    "BMP": lambda: encoded("BMP"),
    "BMP of a palette": lambda: encoded("BMP", "P"),
    "WebP": lambda: encoded("WEBP"),
    "lossless WebP": lambda: encoded("WEBP", lossless=True),
    "animated WebP": lambda: many_frames("WEBP", 3),
    "TIFF": lambda: encoded("TIFF"),
    "TIFF of LZW": lambda: encoded("TIFF", compression="tiff_lzw"),
    "TIFF of CMYK": lambda: encoded("TIFF", "CMYK"),
    "big TIFF": lambda: encoded("TIFF", big_tiff=True, compression="tiff_adobe_deflate"),
    "GIF": lambda: many_frames("GIF", 3),
    "PPM": lambda: encoded("PPM"),
    "PBM": lambda: encoded("PPM", "1"),
}


class Child:
    """A process that decodes what it is sent; `read` is called in it."""

    def __init__(self, read: Read) -> None:
        there, here = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_decode_all, args=(there, read), daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: none of ours holds a lock
            self._process.start()
        self._pipe = here

    def accepts(self, data: bytes) -> bool:
        self._pipe.send_bytes(data)
        if not self._pipe.poll(10 * SLOWEST):
            self._process.kill()
            raise AssertionError("the decoders hang")
        try:
            answer = self._pipe.recv_bytes()
        except EOFError:
            self._process.join()
            raise AssertionError(f"the decoders died: exit code {self._process.exitcode}") from None
        if answer not in (b"yes", b"no"):
            raise AssertionError(answer.decode())
        return answer == b"yes"


def _decode_all(pipe: Connection, read: Read) -> None:
    read(io.BytesIO(encoded("PNG")).getvalue())  # what is loaded once is not counted
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, most))
    while True:
        data = pipe.recv_bytes()
        spent = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(
            resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + SLOWEST, resource.RLIM_INFINITY)
        )
        try:
            read(data)
            pipe.send_bytes(b"yes")
        except ImageError:
            pipe.send_bytes(b"no")
        except BaseException as error:
            pipe.send_bytes(f"{type(error).__name__}: {error}".encode())


_children: dict[Read, Child] = {}


def feed(data: bytes, path: Path, read: Read = load_image) -> bool:
    """Whether the decoders accept `data`. Every error but ours, and their process's death, is an AssertionError."""
    child = _children.pop(read, None) or Child(read)
    accepted = child.accepts(data)
    _children[read] = child
    return accepted


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A changed picture, or the beginning of one with the end of another."""
    data = mutate(chance.choice(seeds), chance)
    if chance.random() < 0.2:
        data = data[: chance.randrange(len(data) + 1)] + chance.choice(seeds)[chance.randrange(64) :]
    return data[:LARGEST]


if __name__ == "__main__":
    LongRun(
        seeds=[make() for make in SEEDS.values()]
        + [data for data in hostile_pictures().values() if len(data) < LARGEST],
        changed=changed,
        feed=feed,
        module="boxwright.data.image",
        reader="load_image",
        failure="fuzz-failure.picture",
    ).main(__doc__)
