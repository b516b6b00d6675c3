"""One request for a file over http or https, bounded in time and size; whatever goes wrong is one error.

urllib follows redirects to ftp, reads the body of a redirect into memory, waits for ever for a server that sends a byte
now and then, and fails in a dozen classes of exceptions. Here redirects are followed by hand, and every read from the
connection asks how much time and how many bytes are left.
"""

import io
import socket
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

SCHEMES = ("http", "https")
_MAX_HEADERS = 2**20  # bytes before the content of one answer
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_REASON = 200  # characters of what a server or the system says


class WebError(Exception):
    """The request failed. `status` is what the server answered, if it did; `is_final`: another try would end alike."""

    def __init__(self, reason: str, *, status: int | None = None, is_final: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Bounds:
    """`silence`: seconds that one read may take. `end`: when all ends, in time.monotonic. `most`: bytes of content."""

    silence: float
    end: float
    most: int

    def next_wait(self) -> float:
        """Seconds that the next wait may take. Raises TimeoutError where none are left."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("it takes too long")
        return min(self.silence, left)


def ask(address: str, headers: Mapping[str, str], bounds: Bounds) -> HTTPResponse:
    """The answer of the server, its content not yet read; `read_piece` reads it. Raises WebError."""
    for _ in range(_MAX_REDIRECTS):
        try:
            return _open(address, headers, bounds)
        except HTTPError as error:
            with error:
                address = _next_address(address, error)
        except (HTTPException, OSError) as error:
            raise WebError(reason_of(error), is_final=isinstance(error, InvalidURL)) from error
        except Exception as error:  # an address, from us or the server, that cannot be one: ports, dots, characters
            raise WebError(f"{reason_of(error)} ({type(error).__name__})", is_final=True) from error
    raise WebError(f"the server redirects over {_MAX_REDIRECTS} times", is_final=True)


def read_piece(response: HTTPResponse, size: int) -> bytes:
    """Up to `size` bytes of the content, none at its end. Raises WebError."""
    try:
        return response.read1(size)
    except (HTTPException, OSError, ValueError) as error:
        raise WebError(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """What went wrong in some words, of what urllib or a socket raised; a server's own words are cut short."""
    return (str(getattr(error, "reason", error)) or type(error).__name__)[:_LONGEST_REASON]


def _open(address: str, headers: Mapping[str, str], bounds: Bounds) -> HTTPResponse:
    opener = OpenerDirector()
    plain = (ProxyHandler(), UnknownHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor())
    for handler in (*plain, _Http(bounds), _Https(bounds)):
        opener.add_handler(handler)
    response: HTTPResponse = opener.open(Request(address, headers=dict(headers)), timeout=bounds.next_wait())
    return response


def _next_address(address: str, error: HTTPError) -> str:
    """Where a redirect leads; any other answer that is no success is an error."""
    place = error.headers.get("Location", "")
    if error.code not in _REDIRECTS or not place:
        raise WebError(
            f"the server answers {error.code} {error.reason}"[:_LONGEST_REASON], status=error.code
        ) from error
    try:
        following = urljoin(address, quote(place, encoding="iso-8859-1", safe=string.punctuation))
        scheme = urlsplit(following).scheme
    except ValueError as problem:
        raise WebError(f"the server redirects to {place[:100]!r}, which is no address", is_final=True) from problem
    if scheme not in SCHEMES:
        raise WebError(f"the server redirects to {following[:100]!r}, which is no web address", is_final=True)
    return following


class _Http(HTTPHandler):
    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds

    def http_open(self, req: Request) -> Any:
        return self.do_open(_Connection, req, bounds=self.bounds)  # type: ignore[arg-type]


class _Https(HTTPSHandler):
    def __init__(self, bounds: Bounds) -> None:
        super().__init__()
        self.bounds = bounds

    def https_open(self, req: Request) -> Any:
        return self.do_open(_SecureConnection, req, bounds=self.bounds)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    def __init__(self, *arguments: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.response_class = partial(_Response, bounds=bounds)  # type: ignore[assignment]


class _SecureConnection(HTTPSConnection):
    def __init__(self, *arguments: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.response_class = partial(_Response, bounds=bounds)  # type: ignore[assignment]


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._bounded = _BoundedReader(self.fp.detach(), sock, bounds)
        self.fp = io.BufferedReader(self._bounded)

    def begin(self) -> None:
        super().begin()
        self._bounded.left += self._bounded.bounds.most


class _BoundedReader(io.RawIOBase):
    """Reads a connection; each read waits no longer, and all of them bring no more, than the bounds allow."""

    def __init__(self, inner: io.RawIOBase, connection: socket.socket, bounds: Bounds) -> None:
        super().__init__()
        self._inner = inner
        self._connection = connection
        self.bounds = bounds
        self.left = _MAX_HEADERS

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int | None:
        self._connection.settimeout(self.bounds.next_wait())
        count: int | None = self._inner.readinto(target)
        self.left -= count or 0
        if self.left < 0:
            raise OSError("the server does not stop to send")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()
