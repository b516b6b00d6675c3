"""Downloads against a server that cuts, stalls, lies about lengths, serves wrong bytes and ignores what it is asked."""

import hashlib
import http.server
import os
import subprocess
import sys
import threading

import pytest

from boxwright.errors import DownloadError
from boxwright.interop import download as module
from boxwright.interop.download import Patience, cached_path, download, fetch_model
from boxwright.interop.zoo import Checksum, find_model

CONTENT = bytes(range(256)) * 400
DIGEST = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest()[:8])


class Server(http.server.ThreadingHTTPServer):
    """Answers the n-th request by the n-th function of `plan`, and by the last one from then on."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = [whole]
        self.asked: list[str] = []  # the Range header of each request
        self.paths: list[str] = []
        self.end = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/weights.pkl"

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        number = len(self.server.asked)
        self.server.asked.append(self.headers.get("Range", ""))
        self.server.paths.append(self.path)
        self.server.plan[min(number, len(self.server.plan) - 1)](self)

    def answer(self, body=b"", *, status=200, length=None, **headers):
        self.send_response(status)
        if length is not False:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def start_asked(self) -> int:
        return int(self.headers.get("Range", "bytes=0-")[6:-1])

    def log_message(self, *_):
        pass


def whole(handler):
    handler.answer(CONTENT)


def ranged(handler):
    start = handler.start_asked()
    if start:
        handler.answer(CONTENT[start:], status=206, Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    else:
        handler.answer(CONTENT)


def cut(handler):
    """Half of what is left, then the connection ends."""
    start = handler.start_asked()
    rest = CONTENT[start:]
    headers = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
    handler.answer(rest[: len(rest) // 2], status=206 if start else 200, length=len(rest), **headers)
    handler.close_connection = True


def stall(handler):
    handler.answer(CONTENT[:1_000], length=len(CONTENT))
    handler.wfile.flush()
    handler.server.end.wait(30)


def silent(handler):
    handler.server.end.wait(30)


def wrong_bytes(handler):
    handler.answer(b"\0" * len(CONTENT))


def wrong_part(handler):
    handler.answer(CONTENT[10:], status=206, Content_Range=f"bytes 10-{len(CONTENT) - 1}/{len(CONTENT)}")


def refuses_to_continue(handler):
    handler.answer(status=416)


def without_length(handler):
    handler.answer(CONTENT, length=False)


def too_long(handler):
    handler.answer(CONTENT, length=len(CONTENT) * 2)
    handler.close_connection = True


def too_short(handler):
    handler.answer(CONTENT, length=1_000)
    handler.close_connection = True


def nonsense_length(handler):
    handler.answer(CONTENT, length="many")
    handler.close_connection = True


def empty(handler):
    handler.answer(b"")


def nothing(handler):
    handler.connection.close()


def status(code):
    def answer(handler):
        handler.answer(b"<html>error page</html>", status=code)

    return answer


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.end.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "home"))
    for name in ("BOXWRIGHT_OFFLINE", "BOXWRIGHT_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


class Waits(list):
    """In place of time.sleep: nothing waits in a test."""

    def __call__(self, seconds):
        self.append(seconds)


def patience(tries=4, timeout=5.0):
    return Patience(tries=tries, timeout=timeout, sleep=Waits())


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_fetched_once(server):
    seen = []
    path = download(server.url, checksum=DIGEST, progress=lambda done, total: seen.append((done, total)))
    assert path == cached_path(server.url)
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert download(server.url, checksum=DIGEST) == path
    assert len(server.asked) == 1
    assert leftovers(path) == ["weights.pkl"]


@pytest.mark.parametrize("checksum", [None, DIGEST, Checksum("md5", hashlib.md5(CONTENT).hexdigest()[:6])])
@pytest.mark.parametrize(
    ("plan", "ranges"),
    [
        ([ranged], [""]),
        ([without_length], [""]),
        ([nonsense_length], [""]),
        ([cut, ranged], ["", f"bytes={len(CONTENT) // 2}-"]),
        ([cut, cut, ranged], ["", f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) // 4 * 3}-"]),
        ([cut, whole], ["", f"bytes={len(CONTENT) // 2}-"]),
        ([cut, wrong_part, ranged], ["", f"bytes={len(CONTENT) // 2}-", ""]),
        ([cut, refuses_to_continue, whole], ["", f"bytes={len(CONTENT) // 2}-", ""]),
        ([nothing, whole], ["", ""]),
        ([empty, whole], ["", ""]),
        ([status(503), status(429), whole], ["", "", ""]),
        ([cut, status(500), ranged], ["", f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) // 2}-"]),
    ],
)
def test_a_broken_download_is_continued_or_begun_again(server, plan, ranges, checksum):
    server.plan = plan
    trying = patience()
    path = download(server.url, checksum=checksum, patience=trying)
    assert path.read_bytes() == CONTENT
    assert server.asked == ranges
    assert trying.sleep == [1.0, 2.0, 4.0][: len(ranges) - 1]
    assert leftovers(path) == ["weights.pkl"]


@pytest.mark.parametrize("stuck", [stall, silent])
def test_a_server_that_stalls_is_left_and_asked_again(server, stuck):
    server.plan = [stuck, ranged]
    path = download(server.url, checksum=DIGEST, patience=patience(timeout=0.2))
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_wrong_bytes_never_reach_the_cache(server):
    server.plan = [wrong_bytes, wrong_bytes, whole]
    assert download(server.url, checksum=DIGEST, patience=patience()).read_bytes() == CONTENT
    assert server.asked == ["", "", ""], "a wrong file is not continued"


def test_a_part_left_by_another_version_is_found_out(server):
    part = cached_path(server.url).with_name("weights.pkl.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 5_000)
    server.plan = [ranged]
    assert download(server.url, checksum=DIGEST, patience=patience()).read_bytes() == CONTENT
    assert server.asked == ["bytes=5000-", ""]


def test_a_part_left_behind_is_not_trusted_without_a_checksum(server):
    part = cached_path(server.url).with_name("weights.pkl.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 5_000)
    server.plan = [ranged]
    assert download(server.url, patience=patience()).read_bytes() == CONTENT
    assert server.asked == [""]


def test_the_version_is_named_when_a_download_goes_on(server):
    asked = []

    def tagged_cut(handler):
        handler.answer(CONTENT[:500], length=len(CONTENT), ETag='"v1"')
        handler.close_connection = True

    def note(handler):
        asked.append(handler.headers.get("If-Range"))
        whole(handler)

    server.plan = [tagged_cut, note]
    assert download(server.url, patience=patience()).read_bytes() == CONTENT
    assert asked == ['"v1"']


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (wrong_bytes, r"failed 4 times, at last: the file is not the one published: its sha256 begins with"),
        (too_long, rf"the connection ended after {len(CONTENT):,} of {2 * len(CONTENT):,} bytes"),
        (too_short, "the file is not the one published"),
        (empty, "the server sent nothing"),
        (nothing, "failed 4 times, at last: "),
        (status(503), "failed 4 times, at last: the server answers 503 Service Unavailable"),
    ],
)
def test_giving_up_says_address_reason_and_remedy(server, answer, message):
    server.plan = [answer]
    with pytest.raises(DownloadError, match=message) as caught:
        download(server.url, checksum=DIGEST, patience=patience())
    assert server.url in str(caught.value)
    assert "BOXWRIGHT_MIRROR" in str(caught.value)
    assert str(cached_path(server.url)) in str(caught.value)
    assert not cached_path(server.url).exists()


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_what_will_not_change_is_not_tried_again(server, code):
    server.plan = [status(code)]
    with pytest.raises(DownloadError, match=f"the server answers {code}"):
        download(server.url, patience=patience())
    assert len(server.asked) == 1
    assert not cached_path(server.url).exists()


def test_a_server_that_never_stops_is_stopped(server, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 50_000)
    server.plan = [without_length]
    with pytest.raises(DownloadError, match="sends more than 50,000 bytes"):
        download(server.url, patience=patience())


def test_nobody_listening_is_our_error(server):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match=r"failed 2 times, at last: .*refused"):
        download(url, patience=patience(tries=2))


def test_offline_only_the_cache_answers(server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    with pytest.raises(DownloadError, match="BOXWRIGHT_OFFLINE is set") as caught:
        download(server.url)
    assert server.url in str(caught.value)
    assert str(cached_path(server.url)) in str(caught.value)
    assert server.asked == []
    cached_path(server.url).parent.mkdir(parents=True)
    cached_path(server.url).write_bytes(b"x")
    assert download(server.url).read_bytes() == b"x"


def test_a_mirror_serves_in_place_of_the_publisher(server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", f"http://127.0.0.1:{server.server_port}/mirror/")
    path = download("https://dl.example.com/models/w.pkl?x", checksum=DIGEST)
    assert server.paths == ["/mirror/dl.example.com/models/w.pkl?x"]
    assert path == cached_path("https://dl.example.com/models/w.pkl")
    server.plan = [status(404)]
    with pytest.raises(DownloadError, match=r"https://dl\.example\.com/other\.pkl \(by the mirror, http://127"):
        download("https://dl.example.com/other.pkl")
    monkeypatch.setenv("BOXWRIGHT_MIRROR", "/folder")
    with pytest.raises(DownloadError, match="BOXWRIGHT_MIRROR is '/folder'"):
        download("https://dl.example.com/third.pkl")


@pytest.mark.parametrize("url", ["", "weights.pth", "file:///etc/passwd", "ftp://a/b", "https://", "https://host/"])
def test_only_web_addresses_are_fetched(url):
    with pytest.raises(DownloadError, match="no web address of a file"):
        download(url)


def test_an_address_cannot_leave_the_cache(home):
    place = cached_path("https://host/../../../../etc/%2e%2e/passwd")
    assert (home / "models") in place.resolve().parents


def test_a_cache_that_cannot_be_written_is_our_error(server, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set BOXWRIGHT_HOME to a folder that can be written"):
        download(server.url)


def test_a_full_disk_is_our_error(server, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DownloadError, match=r"cannot be kept at .*No space left on device.*Free some space"):
        download(server.url)
    assert not cached_path(server.url).exists()


def test_threads_that_want_one_file_fetch_it_once(server):
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(download(server.url, checksum=DIGEST))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 8
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1


def test_processes_that_want_one_file_fetch_it_once(server):
    script = f"from boxwright.interop.download import download; print(download({server.url!r}))"
    children = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = {child.communicate(timeout=120)[0].decode().strip() for child in children}
    assert outputs == {str(cached_path(server.url))}
    assert cached_path(server.url).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_a_published_model_is_fetched_and_checked(server, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_MIRROR", f"http://127.0.0.1:{server.server_port}")
    with pytest.raises(DownloadError, match=r"its sha256 begins with .* and not with 258fb6c6"):
        fetch_model(find_model("torchvision/fasterrcnn_resnet50_fpn"), patience=patience())
    assert server.paths[0] == "/download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"


def test_the_cache_is_in_the_home_folder_unless_told(monkeypatch, home):
    assert cached_path("https://host/a/b.pth") == home / "models" / "host" / "a" / "b.pth"
    monkeypatch.delenv("BOXWRIGHT_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(cached_path("https://host/b.pth")) == "/somewhere/.cache/boxwright/models/host/b.pth"
