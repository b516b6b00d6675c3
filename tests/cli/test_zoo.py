"""`boxwright zoo`: lists for people and for programs, and gets a file once."""

import http.server
import json
import threading
from pathlib import Path

import pytest

from boxwright.cli.main import run

NAME = "detectron/ImageNetPretrained/MSRA/R-50"  # without a checksum, so a test can serve it


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server that gives every file the same four bytes; the list of what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"data")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("BOXWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("BOXWRIGHT_MIRROR", f"http://127.0.0.1:{server.server_port}")
    for name in ("BOXWRIGHT_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_list_can_be_narrowed_by_words(capsys):
    assert run(["zoo", "list", "--filter", "TORCHVISION mask-rcnn"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "torchvision/maskrcnn_resnet50_fpn     coco          box 37.9  mask 34.6",
        "torchvision/maskrcnn_resnet50_fpn_v2  coco          box 47.4  mask 41.8",
    ]
    assert printed.err.startswith("2 of ")


def test_the_list_is_json_for_programs(capsys):
    assert run(["zoo", "list", "--json", "--filter", "no such model"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["zoo", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) > 300
    row = next(row for row in rows if row["name"] == "torchvision/fasterrcnn_resnet50_fpn")
    assert row == {
        "name": "torchvision/fasterrcnn_resnet50_fpn",
        "family": "faster_rcnn",
        "dataset": "coco",
        "ap": {"box": 0.37},
        "url": "https://download.pytorch.org/models/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "checksum": "sha256:258fb6c6",
        "config": "fasterrcnn_resnet50_fpn",
    }


def test_get_downloads_once_and_prints_the_path(mirror, tmp_path, capsys):
    for _ in range(2):
        assert run(["zoo", "get", NAME]) == 0
        path = capsys.readouterr().out.strip()
        assert Path(path).read_bytes() == b"data"
    assert mirror == ["/dl.fbaipublicfiles.com/detectron/ImageNetPretrained/MSRA/R-50.pkl"]
    assert path.startswith(str(tmp_path))


def test_get_answers_in_json(mirror, capsys):
    assert run(["zoo", "get", NAME, "--json"]) == 0
    printed = capsys.readouterr()
    row = json.loads(printed.out)
    assert row["name"] == NAME
    assert row["path"].endswith("R-50.pkl")
    assert printed.err == f"{NAME}: 0 of 0 MiB\n"


def test_an_unknown_name_is_one_line_and_exit_code_1(capsys):
    assert run(["zoo", "get", "torchvision/maskrcnn_resnet_50"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Nearest: torchvision/maskrcnn_resnet50_fpn" in error


def test_offline_is_one_line_and_exit_code_1(mirror, capsys, monkeypatch):
    monkeypatch.setenv("BOXWRIGHT_OFFLINE", "1")
    assert run(["zoo", "get", NAME]) == 1
    assert "BOXWRIGHT_OFFLINE is set" in capsys.readouterr().err
    assert mirror == []
