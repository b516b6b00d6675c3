"""Servers that lie, flood, drip, send nonsense or lead elsewhere: a whole file or one line of ours, soon."""

import gzip
import hashlib
import os
import time

import pytest

from boxwright.errors import LONGEST, DownloadError, escaped
from boxwright.interop import download as module
from boxwright.interop.download import Patience, cached_path, download
from boxwright.interop.zoo import Checksum
from tests.interop.raw_server import CONTENT, LENGTH, RIGHT, RawServer, forever, head, moved

DIGEST = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])


@pytest.fixture
def server():
    server = RawServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    for name in ("BOXWRIGHT_OFFLINE", "BOXWRIGHT_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def hurried(tries: int = 2, total: float = 3.0) -> Patience:
    return Patience(tries=tries, timeout=0.5, wait=0.0, total=total, sleep=lambda _: None)


def refused(url: str, *, checksum=DIGEST, patience=None) -> str:
    """The error of a download, after the promises that hold for all of them."""
    start = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        download(url, checksum=checksum, patience=patience or hurried())
    assert time.monotonic() - start < 15
    message = str(caught.value)
    assert len(message) <= LONGEST
    assert "\n" not in message
    assert escaped(message) == message
    return message


WRONG = {
    "nothing": b"",
    "a half line": b"HTTP/1.1 2",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "bytes": bytes(range(256)),
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of letters": head(status="HTTP/1.1 abc OK"),
    "a status of 99": head(status="HTTP/1.1 99 OK"),
    "a status of 1000": head(status="HTTP/1.1 1000 OK"),
    "a negative status": head(status="HTTP/1.1 -200 OK"),
    "a version of the future": head("Content-Length: 1", status="HTTP/9.9 200 OK") + b"x",
    "a long status line": head(status="HTTP/1.1 200 " + "x" * 70_000),
    "a long header": head("X: " + "x" * 70_000),
    "many headers": head(*(f"X{n}: 1" for n in range(200))),
    "a header without a colon": head("no colon here") + CONTENT[:10],
    "a reason that acts on a terminal": head("Content-Length: 0", status="HTTP/1.1 404 \x1b[2J\x1b]0;x\x07\x9b31m"),
    "a long reason": head("Content-Length: 0", status="HTTP/1.1 500 " + "no " * 20_000),
    "a reason of spaces": head("Content-Length: 0", status="HTTP/1.1 503    "),
    "no content": head(status="HTTP/1.1 204 No Content"),
    "reset content": head("Content-Length: 0", status="HTTP/1.1 205 Reset Content"),
    "not modified": head(status="HTTP/1.1 304 Not Modified"),
    "a success of its own": head(f"Content-Length: {LENGTH}", status="HTTP/1.1 299 Fine") + CONTENT,
    "switching protocols": head("Upgrade: x", status="HTTP/1.1 101 Switching Protocols"),
    "early hints": head(status="HTTP/1.1 103 Early Hints") + head(f"Content-Length: {LENGTH}") + CONTENT,
    "a length of 10**30": head("Content-Length: " + "1" + "0" * 30) + CONTENT,
    "a length of 5000 digits": head("Content-Length: " + "9" * 5_000) + CONTENT[:-1],
    "a negative length": head("Content-Length: -5") + CONTENT[:-1],
    "a length of 2**62": head(f"Content-Length: {2**62}") + CONTENT,
    "a length over all": head(f"Content-Length: {module.MAX_BYTES + 1}") + CONTENT,
    "a length too long": head(f"Content-Length: {LENGTH + 1}") + CONTENT,
    "a length too short": head(f"Content-Length: {LENGTH - 1}") + CONTENT,
    "a length of zero": head("Content-Length: 0") + CONTENT,
    "a length in other digits": head("Content-Length: ٣".encode().decode("latin-1")) + CONTENT[:-1],
    "two lengths": head("Content-Length: 5", f"Content-Length: {LENGTH}") + CONTENT,
    "packed by gzip": head("Content-Encoding: gzip", "Connection: close") + gzip.compress(b"\0" * 10**7),
    "packed by br": head("Content-Encoding: br", "Connection: close") + CONTENT,
    "chunks of letters": head("Transfer-Encoding: chunked") + b"zz\r\n" + CONTENT,
    "chunks of negative size": head("Transfer-Encoding: chunked") + b"-5\r\n" + CONTENT + b"\r\n0\r\n\r\n",
    "chunks of huge size": head("Transfer-Encoding: chunked") + b"f" * 5_000 + b"\r\n" + CONTENT,
    "chunks of 2**60": head("Transfer-Encoding: chunked") + b"1000000000000000\r\n" + CONTENT,
    "chunks cut short": head("Transfer-Encoding: chunked") + b"2800\r\n" + CONTENT[:100],
    "chunks without an end": head("Transfer-Encoding: chunked") + b"10\r\n" + CONTENT[:16] + b"\r\n",
    "a chunk line without an end": head("Transfer-Encoding: chunked") + b"1" * 100_000,
    "a part nobody asked for": head(f"Content-Range: bytes 0-9/{LENGTH}", status="HTTP/1.1 206 Partial") + CONTENT[:10],
    "a part from elsewhere": head(f"Content-Range: bytes 7-/{LENGTH}", status="HTTP/1.1 206 Partial Content") + CONTENT,
    "a part of nothing": head(status="HTTP/1.1 206 Partial Content") + CONTENT,
    "a range never asked": head("Content-Range: bytes */1", status="HTTP/1.1 416 Range Not Satisfiable"),
    "wrong bytes": head(f"Content-Length: {LENGTH}") + bytes(LENGTH),
    "a redirect to nowhere": moved(""),
    "a redirect without a place": head("Content-Length: 0", status="HTTP/1.1 301 Moved"),
    "a redirect to a file": moved("file:///etc/passwd"),
    "a redirect to ftp": moved("ftp://127.0.0.1/x"),
    "a redirect to data": moved("data:text/plain,hello"),
    "a redirect to a script": moved("javascript:alert(1)"),
    "a redirect to gopher": moved("gopher://127.0.0.1:70/x", "HTTP/1.1 307 Temporary Redirect"),
    "a redirect to a port of letters": moved("http://127.0.0.1:abc/"),
    "a redirect to port 99999999": moved("http://127.0.0.1:99999999/"),
    "a redirect to port -1": moved("http://127.0.0.1:-1/"),
    "a redirect to port 0": moved("http://127.0.0.1:0/"),
    "a redirect to half an address": moved("http://[::1"),
    "a redirect to two dots": moved("http://a..b/"),
    "a redirect to a long host": moved("http://" + "a" * 300 + "/"),
    "a redirect to no host": moved("http:///x"),
    "a redirect to letters of Latin-1": moved("http://127.0.0.1:1/\xe9\xff"),
    "a redirect that acts on a terminal": moved("x:\x1b[31m", "HTTP/1.1 308 Permanent Redirect"),
    "a redirect to itself": moved("/models/w.pkl"),
    "a redirect with a body without end": forever(
        head("Location: file:///etc/passwd", "Content-Length: 99999999999", status="HTTP/1.1 302 Found"), b"x" * 65_536
    ),
    "headers without end": forever(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 60_000 + b"\r\n"),
    "a header line without end": forever(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 60_000),
    "continues without end": forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    "headers drop by drop": forever(b"HTTP/1.1 200 OK\r\n", b"X", 0.1),
    "content drop by drop": forever(head(f"Content-Length: {LENGTH}"), b"x", 0.1),
    "silence": forever(b"", b"", 0.1),
    "silence after the headers": forever(head(f"Content-Length: {LENGTH}"), b"", 0.1),
    "trailers drop by drop": forever(head("Transfer-Encoding: chunked") + b"0\r\n", b"X: 1\r\n", 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_hostile_server_gives_one_line_of_ours_and_no_file(name, server, home):
    server.plan = [WRONG[name]]
    url = f"{server.origin}/models/w.pkl"
    assert url in refused(url, patience=hurried(total=1.0 if "drop" in name else 3.0))
    assert not cached_path(url).exists()


@pytest.mark.parametrize("checksum", [None, DIGEST])
@pytest.mark.parametrize("name", RIGHT)
def test_an_odd_server_that_sends_the_file_is_understood(name, checksum, server):
    server.plan = [RIGHT[name]]
    assert download(f"{server.origin}/w.pkl", checksum=checksum, patience=hurried()).read_bytes() == CONTENT


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize(
    "place", ["/other/w.pkl", "other.pkl?x=1", "//127.0.0.1:{port}/w", "http://127.0.0.1:{port}/a b/é"]
)
def test_a_redirect_to_a_web_address_is_followed(status, place, server):
    place = place.format(port=server.origin.rpartition(":")[2])
    server.plan = [moved(place, f"HTTP/1.1 {status}"), head(f"Content-Length: {LENGTH}") + CONTENT]
    assert download(f"{server.origin}/models/w.pkl", checksum=DIGEST, patience=hurried()).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_redirects_are_followed_a_few_times_only(server):
    server.plan = [moved(f"/{n}") for n in range(50)]
    assert "redirects over 10 times" in refused(f"{server.origin}/w.pkl")
    assert len(server.asked) == 10


@pytest.mark.parametrize("name", ["content drop by drop", "headers drop by drop", "silence"])
def test_all_tries_together_end_in_the_total_time(name, server):
    server.plan = [WRONG[name]]
    start = time.monotonic()
    refused(f"{server.origin}/w.pkl", patience=hurried(tries=1_000, total=1.0))
    assert time.monotonic() - start < 10


def test_a_flood_is_stopped_at_the_limit(server, monkeypatch, home):
    monkeypatch.setattr(module, "MAX_BYTES", 300_000)
    server.plan = [forever(head("Connection: close"), b"x" * 65_536)]
    assert "sends more than 300,000 bytes" in refused(f"{server.origin}/w.pkl")
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 3_000_000


ADDRESSES = [
    "http://[::1/w.pkl",
    "http://host:abc/w.pkl",
    "http://host:99999999/w.pkl",
    "http://host:0/w.pkl",
    "http://../w.pkl",
    "http://./w.pkl",
    "http://a/\0/w.pkl",
    "http://a/\x1b[2J/w.pkl",
    "http://a b/w.pkl",
    "http://a/b c/w.pkl",
    "http://ä/w.pkl",
    "http://a/ü.pkl",
    "http://a/\ud800.pkl",
    "http://" + "a" * 300 + "/w.pkl",
    "http://a/" + "b/" * 3_000 + "w.pkl",
    "http://user:secret@host/w.pkl\n",
    "HTTP:/w.pkl",
    "file:///etc/passwd",
    "FILE://host/etc/passwd",
    "ftp://host/w.pkl",
    "data:text/plain,hello",
    "jar:http://host/w.pkl",
    "//host/w.pkl",
    "x" * 100_000,
    "http://host",
    "http://host/..",
]


@pytest.mark.parametrize("url", ADDRESSES, ids=lambda url: ascii(url)[:30])
def test_what_is_no_web_address_is_refused_before_anything_is_asked(url, home):
    assert "no web address of a file" in refused(url)
    assert not home.exists()


@pytest.mark.parametrize("url", ["http://a..b/w.pkl", "http://0/w.pkl", "http://user:secret@127.0.0.1:1/w.pkl"])
def test_an_address_that_nobody_has_is_our_error(url):
    refused(url)


@pytest.mark.parametrize("length", [200, 247, 250, 255, 256, 300, 2_000])
def test_long_names_can_be_written_and_stay_apart(length, server):
    names = ["a" * (length - 5) + end for end in ("x.pkl", "y.pkl")]
    paths = [download(f"{server.origin}/{name}", checksum=DIGEST, patience=hurried()) for name in names]
    assert [path.read_bytes() for path in paths] == [CONTENT] * 2
    assert paths[0] != paths[1]
    assert (paths[0].name == names[0]) == (length <= 255)
    assert download(f"{server.origin}/{names[0]}") == paths[0]
    assert len(server.asked) == 2


def test_what_others_left_unfinished_long_ago_is_swept_and_the_rest_stays(server, home):
    folder = home / "models" / "host" / "deep"
    folder.mkdir(parents=True)
    for name, days in (("old.pkl.part", 30), ("new.pkl.part", 1), ("old.pkl", 30)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - days * 24 * 3_600,) * 2)
    download(f"{server.origin}/w.pkl", patience=hurried())
    assert sorted(path.name for path in folder.iterdir()) == ["new.pkl.part", "old.pkl"]


@pytest.mark.parametrize("mirror", ["file:///etc", "http://[", "x" * 5_000, "\x1b[2J", "http://host:abc", "ftp://a"])
def test_a_mirror_that_is_no_web_address_is_our_error(mirror, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", mirror)
    assert "BOXWRIGHT_MIRROR is" in refused("https://host/w.pkl")


@pytest.mark.parametrize(
    "proxy", ["ftp://127.0.0.1:1", "http://[", "http://127.0.0.1:99999999", "\x1b", "file:///etc/passwd"]
)
def test_a_proxy_that_is_none_is_our_error(proxy, monkeypatch, server):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    refused(f"{server.origin}/w.pkl")
