"""Fetching published files once, into a cache.

A file appears in the cache only when it is whole and is the one promised: it is written beside its place, checked,
and renamed. What a broken connection left is continued. Processes that want the same file wait for one another.

    BOXWRIGHT_HOME      the cache, by default ~/.cache/boxwright
    BOXWRIGHT_MIRROR    an address under which the files of the publishers lie as HOST/PATH
    BOXWRIGHT_OFFLINE   1: nothing is fetched; what is not in the cache is an error
"""

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Protocol
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from boxwright.cache import cache_folder
from boxwright.errors import DownloadError
from boxwright.files import sync_folder
from boxwright.interop.zoo.models import Checksum, ZooModel

MAX_BYTES = 8 * 2**30  # no published model comes near; against servers that never stop
_CHUNK = 2**20
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Progress(Protocol):
    """Called with the bytes that are there and the bytes in all, None where the server does not say."""

    def __call__(self, done: int, total: int | None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: `tries` in all, `timeout` seconds of silence per read, waits doubling from `wait` seconds."""

    tries: int = 5
    timeout: float = 30.0
    wait: float = 1.0
    sleep: Callable[[float], None] = time.sleep


def fetch_model(model: ZooModel, *, progress: Progress | None = None, patience: Patience = Patience()) -> Path:
    """The file of a published model, downloaded once."""
    return download(model.url, checksum=model.checksum, progress=progress, patience=patience)


def cached_path(url: str) -> Path:
    """Where the file of an address lies once it is downloaded; the path keeps the address readable."""
    parts = urlsplit(url)
    names = [name for name in parts.path.replace("%3A", "_").split("/") if name not in ("", ".", "..")]
    if parts.scheme not in ("http", "https") or not parts.hostname or not names:
        raise DownloadError(f"{url}: no web address of a file. Give one that begins with https://")
    return cache_folder().joinpath("models", parts.hostname, *names)


def download(
    url: str,
    *,
    checksum: Checksum | None = None,
    progress: Progress | None = None,
    patience: Patience = Patience(),
) -> Path:
    """Fetches `url` into the cache and returns the path of the file; nothing is fetched when it is there.

    `checksum` is compared before the file gets its name. Raises DownloadError with the address, what happened and
    what can be done.
    """
    path = cached_path(url)
    if path.is_file():
        return path
    if os.environ.get("BOXWRIGHT_OFFLINE", "0") not in ("", "0"):
        raise DownloadError(
            f"{url} is not in the cache, and BOXWRIGHT_OFFLINE is set. Download it elsewhere and put it at {path}, "
            "or unset BOXWRIGHT_OFFLINE."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_name(f"{path.name}.lock")):
            if not path.is_file():  # another process may have brought it while we waited
                _Fetch(url, path, checksum=checksum, progress=progress, patience=patience).run()
    except DownloadError:
        raise
    except OSError as error:  # the disk; errors of the network are handled inside
        raise DownloadError(
            f"{url}: cannot be kept at {path} ({error.strerror or error}). Free some space, or set BOXWRIGHT_HOME to a "
            "folder that can be written."
        ) from error
    return path


class _BrokenError(Exception):
    """One try failed; the next may not."""


class _Fetch:
    """One download, over several tries. What arrived is kept in `part` between them."""

    def __init__(
        self, url: str, path: Path, *, checksum: Checksum | None, progress: Progress | None, patience: Patience
    ) -> None:
        self.url = url
        self.address = _mirrored(url)
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.checksum = checksum
        self.progress = progress
        self.patience = patience
        self.validator: str | None = None  # what names the version of the file on the server
        if checksum is None:  # what an earlier process left may be of another version, and nothing would tell
            self.part.unlink(missing_ok=True)

    def run(self) -> None:
        wait = self.patience.wait
        for attempt in range(1, self.patience.tries + 1):
            try:
                self._receive()
                self._check()
                break
            except _BrokenError as broken:
                if attempt == self.patience.tries:
                    raise self._error(f"failed {attempt} times, at last: {broken}") from broken.__cause__
            self.patience.sleep(wait)
            wait *= 2
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.path)
        sync_folder(self.path.parent)

    def _receive(self) -> None:
        """One request; the file continues where `part` ends when the server agrees."""
        have = self.part.stat().st_size if self.part.exists() else 0
        request = Request(self.address, headers={"User-Agent": "boxwright", "Accept-Encoding": "identity"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self.validator:
                request.add_header("If-Range", self.validator)
        try:
            response = urlopen(request, timeout=self.patience.timeout)
        except HTTPError as error:
            with error:
                raise self._refused(error, have=have) from error
        except (HTTPException, OSError) as error:
            raise _BrokenError(_reason(error)) from error
        with response:
            self._store(response, have=have)

    def _store(self, response: HTTPResponse, *, have: int) -> None:
        if response.status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self.part.unlink(missing_ok=True)
            raise _BrokenError("the server sends another part of the file than the one asked for")
        have = have if response.status == 206 else 0  # a server that cannot continue sends all of it
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        self.validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        with open(self.part, "ab" if have else "wb") as file:
            done = self._copy(response, file, done=have, total=total)
        if total is not None and done < total:
            raise _BrokenError(f"the connection ended after {done:,} of {total:,} bytes")

    def _copy(self, response: HTTPResponse, file: IO[bytes], *, done: int, total: int | None) -> int:
        while chunk := _next_chunk(response):
            file.write(chunk)
            done += len(chunk)
            if done > MAX_BYTES:
                raise self._error(f"the server sends more than {MAX_BYTES:,} bytes")
            if self.progress:
                self.progress(done, total)
        return done

    def _refused(self, error: HTTPError, *, have: int) -> Exception:
        """What to raise for an answer that is no success."""
        if error.code == 416 and have:  # what we have is not a beginning of what the server has
            self.part.unlink(missing_ok=True)
            return _BrokenError("the server cannot continue the download")
        if error.code in _WORTH_A_RETRY:
            return _BrokenError(f"the server answers {error.code} {error.reason}")
        return self._error(f"the server answers {error.code} {error.reason}")

    def _check(self) -> None:
        """A wrong file is thrown away, so that the next try begins afresh."""
        if self.part.stat().st_size == 0:
            raise _BrokenError("the server sent nothing")
        if self.checksum is None:
            return
        with open(self.part, "rb") as file:
            digest = hashlib.file_digest(file, self.checksum.algorithm).hexdigest()
        if not digest.startswith(self.checksum.prefix):
            self.part.unlink()
            raise _BrokenError(
                f"the file is not the one published: its {self.checksum.algorithm} begins with "
                f"{digest[: len(self.checksum.prefix)]} and not with {self.checksum.prefix}"
            )

    def _error(self, what: str) -> DownloadError:
        origin = "" if self.address == self.url else f" (by the mirror, {self.address})"
        return DownloadError(
            f"{self.url}{origin}: {what}. Try again later, download it by hand to {self.path}, or set "
            "BOXWRIGHT_MIRROR to a server that has it."
        )


def _next_chunk(response: HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)
    except (HTTPException, OSError) as error:
        raise _BrokenError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", error)) or type(error).__name__


def _mirrored(url: str) -> str:
    mirror = os.environ.get("BOXWRIGHT_MIRROR", "")
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise DownloadError(f"BOXWRIGHT_MIRROR is {mirror!r}: give an address that begins with https:// or http://")
    return f"{mirror.rstrip('/')}/{url.partition('://')[2]}"


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the system frees it when a process dies."""
    with open(path, "ab") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
