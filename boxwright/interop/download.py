"""Fetching published files once, into a cache.

A file appears in the cache only when it is whole and is the one promised: it is written beside its place, checked,
and renamed. What a broken connection left is continued, or thrown away when nobody has wanted it for some days.
Processes that want the same file wait for one another.

    BOXWRIGHT_HOME      the cache, by default ~/.cache/boxwright
    BOXWRIGHT_MIRROR    an address under which the files of the publishers lie as HOST/PATH
    BOXWRIGHT_OFFLINE   1: nothing is fetched; what is not in the cache is an error
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import urlsplit

from boxwright.cache import cache_folder
from boxwright.errors import DownloadError
from boxwright.files import sync_folder
from boxwright.interop.zoo.models import Checksum, ZooModel
from boxwright.locks import locked
from boxwright.web import SCHEMES, Bounds, WebError, ask, read_piece

MAX_BYTES = 8 * 2**30  # no published model comes near; against servers that never stop
_CHUNK = 2**20
_WORTH_A_RETRY = frozenset({408, 425, 429, 500, 502, 503, 504})
_FORGOTTEN = 3 * 24 * 3600  # seconds after which an unfinished file is nobody's: far longer than a download may take
_LONGEST_NAME = 255  # bytes, of all common file systems
_LONGEST_SUFFIX = 8  # of the names beside a file: .part, .lock
_MOST_FOLDERS = 40
_HOST = re.compile(r"[a-z0-9_:-][a-z0-9_.:-]{0,252}")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


class Progress(Protocol):
    """Called with the bytes that are there and the bytes in all, None where the server does not say."""

    def __call__(self, done: int, total: int | None, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: `tries` in all, `timeout` seconds of silence per read, waits doubling from `wait` seconds, and
    `total` seconds for everything together."""

    tries: int = 5
    timeout: float = 30.0
    wait: float = 1.0
    total: float = 6 * 3600.0
    sleep: Callable[[float], None] = time.sleep


def fetch_model(model: ZooModel, *, progress: Progress | None = None, patience: Patience = Patience()) -> Path:
    """The file of a published model, downloaded once."""
    return download(model.url, checksum=model.checksum, progress=progress, patience=patience)


def cached_path(url: str) -> Path:
    """Where the file of an address lies once it is downloaded; the path keeps the address readable."""
    host, names = _parts(url)
    if host is None or not 0 < len(names) <= _MOST_FOLDERS:
        raise DownloadError(f"{_brief(url)}: no web address of a file. Give one that begins with https://")
    return cache_folder().joinpath("models", host, *(_fitting(name, _LONGEST_NAME) for name in names))


def _parts(url: str) -> tuple[str | None, list[str]]:
    """The host and the names of the folders and the file; no host where this is no address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None, []
    is_plain = url.isascii() and url.isprintable() and " " not in url
    if parts.scheme not in SCHEMES or not is_plain or not _HOST.fullmatch(host) or port == 0:
        return None, []
    return host, [name for name in parts.path.replace("%3A", "_").split("/") if name not in ("", ".", "..")]


def _fitting(name: str, longest: int) -> str:
    """A name that a file can have: of a longer one the middle becomes a digest."""
    raw = os.fsencode(name)
    if len(raw) <= longest:
        return name
    return f"{name[:100]}-{hashlib.sha256(raw).hexdigest()[:32]}-{name[-50:]}"


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(_fitting(path.name, _LONGEST_NAME - _LONGEST_SUFFIX) + suffix)


def _brief(text: str) -> str:
    return text if len(text) <= 250 else f"{text[:180]}...{text[-60:]}"


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
            f"{_brief(url)} is not in the cache, and BOXWRIGHT_OFFLINE is set. Download it elsewhere and put it at "
            f"{path}, or unset BOXWRIGHT_OFFLINE."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(cache_folder() / "models")
        with locked(_beside(path, ".lock")):
            if not path.is_file():  # another process may have brought it while we waited
                _Fetch(url, path, checksum=checksum, progress=progress, patience=patience).run()
    except DownloadError:
        raise
    except OSError as error:  # the disk; errors of the network are handled inside
        raise DownloadError(
            f"{_brief(url)}: cannot be kept at {_brief(str(path))} ({error.strerror or error}). Free some space, or "
            "set BOXWRIGHT_HOME to a folder that can be written."
        ) from error
    return path


class _Fetch:
    """One download, over several tries. What arrived is kept in `part` between them."""

    def __init__(
        self, url: str, path: Path, *, checksum: Checksum | None, progress: Progress | None, patience: Patience
    ) -> None:
        self.url = url
        self.address = _mirrored(url)
        self.path = path
        self.part = _beside(path, ".part")
        self.checksum = checksum
        self.progress = progress
        self.patience = patience
        self.bounds = Bounds(silence=patience.timeout, end=time.monotonic() + patience.total, most=MAX_BYTES)
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
            except WebError as broken:
                if broken.is_final:
                    raise self._error(str(broken)) from broken.__cause__
                if attempt == self.patience.tries or time.monotonic() + wait > self.bounds.end:
                    times = "once" if attempt == 1 else f"{attempt} times, at last"
                    raise self._error(f"failed {times}: {broken}") from broken.__cause__
            self.patience.sleep(wait)
            wait *= 2
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self.part, self.path)
        sync_folder(self.path.parent)

    def _receive(self) -> None:
        """One request; the file continues where `part` ends when the server agrees."""
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"User-Agent": "boxwright", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.validator:
                headers["If-Range"] = self.validator
        try:
            response = ask(self.address, headers, self.bounds)
        except WebError as error:
            raise self._refused(error, have=have) from error.__cause__
        with response:
            self._store(response, have=have)

    def _store(self, response: HTTPResponse, *, have: int) -> None:
        packing = response.headers.get("Content-Encoding", "identity").strip().lower()
        if response.status not in (200, 206) or packing not in ("", "identity"):
            raise WebError(f"the server answers {response.status} with content that is packed or none", is_final=True)
        have, total = self._place(response, have)
        if total is not None and total > MAX_BYTES:
            raise self._error(f"the server wants to send {total:,} bytes, more than the {MAX_BYTES:,} allowed")
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        self.validator = validator if validator.isascii() and validator.isprintable() else None
        with open(self.part, "ab" if have else "wb") as file:
            done = self._copy(response, file, done=have, total=total)
        if total is not None and done < total:
            raise WebError(f"the connection ended after {done:,} of {total:,} bytes")

    def _place(self, response: HTTPResponse, have: int) -> tuple[int, int | None]:
        """How many bytes lie before those that come now, and how many there are in all, where the server says."""
        length = response.headers.get("Content-Length", "")
        known = int(length[:30]) if length.isascii() and length.isdecimal() else None
        if response.status == 200:  # all of it, also from a server that cannot continue
            return 0, known
        part = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if part is None or int(part[1]) != have:
            self.part.unlink(missing_ok=True)
            raise WebError("the server sends another part of the file than the one asked for")
        if part[3] != "*":
            return have, int(part[3])
        return have, None if known is None else have + known

    def _copy(self, response: HTTPResponse, file: IO[bytes], *, done: int, total: int | None) -> int:
        while chunk := read_piece(response, _CHUNK):
            file.write(chunk)
            done += len(chunk)
            if done > MAX_BYTES:
                raise self._error(f"the server sends more than {MAX_BYTES:,} bytes")
            if self.progress:
                self.progress(done, total)
        return done

    def _refused(self, error: WebError, *, have: int) -> WebError:
        """What becomes of an answer that is no success."""
        if error.status == 416 and have:  # what we have is not a beginning of what the server has
            self.part.unlink(missing_ok=True)
            return WebError("the server cannot continue the download")
        is_final = error.is_final or (error.status is not None and error.status not in _WORTH_A_RETRY)
        return WebError(str(error), status=error.status, is_final=is_final)

    def _check(self) -> None:
        """A wrong file is thrown away, so that the next try begins afresh."""
        if self.part.stat().st_size == 0:
            raise WebError("the server sent nothing")
        if self.checksum is None:
            return
        with open(self.part, "rb") as file:
            digest = hashlib.file_digest(file, self.checksum.algorithm).hexdigest()
        if not digest.startswith(self.checksum.prefix):
            self.part.unlink()
            raise WebError(
                f"the file is not the one published: its {self.checksum.algorithm} begins with "
                f"{digest[: len(self.checksum.prefix)]} and not with {self.checksum.prefix}"
            )

    def _error(self, what: str) -> DownloadError:
        origin = "" if self.address == self.url else f" (by the mirror, {_brief(self.address)})"
        return DownloadError(
            f"{_brief(self.url)}{origin}: {what}. Try again later, download it by hand to {_brief(str(self.path))}, or "
            "set BOXWRIGHT_MIRROR to a server that has it."
        )


def _mirrored(url: str) -> str:
    mirror = os.environ.get("BOXWRIGHT_MIRROR", "")
    if not mirror:
        return url
    if _parts(mirror)[0] is None:
        raise DownloadError(
            f"BOXWRIGHT_MIRROR is {_brief(mirror)!r}: give an address that begins with https:// or http://"
        )
    return f"{mirror.rstrip('/')}/{url.partition('://')[2]}"


def _sweep(folder: Path) -> None:
    """Throws away what downloads that ended long ago left unfinished. Who sweeps at the same time is no harm."""
    for part in folder.rglob("*.part"):
        with contextlib.suppress(OSError):
            if part.is_file() and time.time() - part.stat().st_mtime > _FORGOTTEN:
                part.unlink()
