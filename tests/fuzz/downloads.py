"""Answers of web servers, and what a download from one may do. The long run is

    python -m tests.fuzz.downloads --minutes 10

Whatever a server sends, the download gives the file or raises DownloadError, soon. The server is on this machine.
"""

import os
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unittest import mock

from boxwright.errors import DownloadError
from boxwright.interop.download import Patience, download
from tests.fuzz.checkpoint_configs import check_words
from tests.fuzz.long_run import LongRun, Read
from tests.interop.raw_server import RIGHT, RawServer, moved

SEEDS = [*RIGHT.values(), moved("http://127.0.0.1/other/w.pkl")]
WORDS = (
    *(b"\r\n", b"\r", b"\n", b" ", b":", b"\0", b"\x1b[2J", b"\xff", b"-1", b"0", b"9" * 30, b"chunked", b"gzip"),
    *(
        b"bytes 5-",
        b"/*",
        b"file:///etc/passwd",
        b"ftp://127.0.0.1/",
        b"data:,x",
        b"//[",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ),
    *(
        b"206",
        b"301",
        b"307",
        b"416",
        b"503",
        b"Location: /\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Encoding: br\r\n",
    ),
)


@cache
def server() -> RawServer:
    return RawServer()


def feed(data: bytes, path: Path, read: Read = download) -> bool:
    """Whether `data` from a server becomes a file. Every error but ours comes through."""
    server().plan = [data]
    hurried = Patience(tries=2, timeout=0.3, wait=0.0, total=1.0, sleep=lambda _: None)
    with mock.patch.dict(os.environ, {"BOXWRIGHT_HOME": str(path.parent / "home"), "BOXWRIGHT_MIRROR": ""}):
        try:
            file = read(f"{server().origin}/w.pkl", patience=hurried)  # type: ignore[call-arg]
        except DownloadError as error:
            check_words(str(error))
            return False
        file.unlink()  # type: ignore[attr-defined]
    return True


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few bytes of the headers changed, cut, repeated or replaced by words that mean something there."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(len(changed), 200) or 1)
        length = chance.randint(1, 20)
        match chance.randrange(4):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place : place + length]
            case 2:
                changed[place:place] = changed[place : place + length]
            case 3:
                changed[place : place + chance.choice((0, 1, length))] = chance.choice(WORDS)
    return bytes(changed)


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    return mutate(chance.choice(seeds), chance)


if __name__ == "__main__":
    LongRun(
        seeds=SEEDS,
        changed=changed,
        feed=feed,
        module="boxwright.interop.download",
        reader="download",
        failure="fuzz-failure.http",
    ).main(__doc__)
