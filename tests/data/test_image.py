"""Pictures in: every kind upright for every reader, and no file that costs more than it warrants or runs anything."""

import contextlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from boxwright.data import image
from boxwright.data.check_images import facts_of
from boxwright.data.exif import without_rotation
from boxwright.data.formats.reading import read_dataset
from boxwright.data.image import PIXELS_SETTING, image_head, image_size, load_image
from boxwright.errors import ConfigError, DownloadError, ImageError
from tests.data.hostile_pictures import as_pixels, hostile_pictures, many_frames

KINDS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp"}
TURNS = {  # what the picture looks like, by EXIF's number
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


def save_turned(path: Path, kind: str, orientation: int, **options) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(as_pixels(24, 40)).save(path, kind, exif=exif, quality=100, lossless=True, **options)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_turns_a_picture_once(kind, orientation, tmp_path):
    path = tmp_path / "images" / "train" / f"a.{KINDS[kind]}"
    path.parent.mkdir(parents=True)
    save_turned(path, kind, orientation)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.25 0.5 0.5 1\n")
    expected = TURNS[orientation](as_pixels(24, 40))
    height, width = expected.shape[:2]

    assert np.abs(load_image(path).astype(int) - expected).mean() < 8
    assert image_size(path) == (height, width)
    annotations = read_dataset(tmp_path, use_index=False)
    assert annotations.size(0) == (height, width)
    assert next(iter(annotations.objects(0))).box_xywh == pytest.approx((0, 0, width / 2, height))
    look = facts_of(path)
    assert (look.stored, look.upright, look.orientation) == ((24, 40), (height, width), orientation)


@pytest.mark.parametrize("orientation", [2, 6, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_without_its_rotation_a_picture_shows_its_pixels_as_they_are_stored(kind, orientation, tmp_path):
    path = tmp_path / "a"
    save_turned(path, kind, orientation)
    path.write_bytes(without_rotation(path.read_bytes(), name="a"))
    assert np.abs(load_image(path).astype(int) - as_pixels(24, 40)).mean() < 8
    with Image.open(path) as picture:
        picture.load()
        assert picture.size == (40, 24)


def test_a_tiff_that_only_pillow_can_decode_is_turned_once_too(tmp_path):
    path = tmp_path / "a.tif"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(as_pixels(24, 40)).convert("CMYK").save(path, exif=exif)
    assert load_image(path).shape == (40, 24, 3)


def test_the_head_of_every_kind_gives_the_size_that_is_decoded(tmp_path):
    picture = Image.fromarray(as_pixels(30, 50))
    modes = [
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("BMP", "RGB"),
        ("BMP", "1"),
    ]
    modes += [("WEBP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB"), ("TIFF", "1"), ("TIFF", "CMYK"), ("GIF", "P")]
    for kind, mode in [*modes, ("PPM", "RGB"), ("PPM", "L"), ("PPM", "1")]:
        path = tmp_path / f"{kind}{mode}"
        picture.convert(mode).save(path, kind)
        assert image_size(path) == load_image(path).shape[:2] == (30, 50), (kind, mode)
    for options in ({"progressive": True}, {"comment": b"c" * 60000, "icc_profile": bytes(150_000)}):
        picture.save(path, "JPEG", **options)
        assert image_size(path) == (30, 50)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        picture.save(path, "TIFF", compression=compression, big_tiff=compression == "tiff_lzw")
        assert image_size(path) == load_image(path).shape[:2] == (30, 50), compression


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_many_frames_the_first_is_read(kind):
    assert load_image(many_frames(kind, 50))[4, 8] == pytest.approx([255, 0, 0], abs=3)


MEASURE = """
import json, resource, time
from boxwright.data.image import load_image
from boxwright.errors import ImageError
from tests.data.hostile_pictures import hostile_pictures
cases, load_image_first = hostile_pictures(), None
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
told, before = {}, peak()
for name, content in cases.items():
    start = time.process_time()
    try:
        outcome = list(load_image(content).shape)
    except ImageError as error:
        outcome = str(error)
    told[name] = [outcome, time.process_time() - start, peak() - before]
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by getrusage")
def test_no_small_file_takes_a_second_or_much_memory():
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.keys() == hostile_pictures().keys()
    for name, (outcome, seconds, megabytes) in told.items():
        assert outcome == [8, 8, 3] or "an image of" in outcome, name
        assert seconds < 1, name
        assert megabytes < 200, name


def test_one_setting_opens_pictures_of_more_pixels(tmp_path, monkeypatch):
    path = tmp_path / "flat.png"
    Image.new("1", (4200, 4200)).save(path)
    with pytest.raises(ImageError, match=rf"4200 x 4200 pixels.*set the environment's {PIXELS_SETTING}=17640000"):
        load_image(path)
    monkeypatch.setenv(PIXELS_SETTING, "17640000")
    assert load_image(path).shape == (4200, 4200, 3)
    monkeypatch.setenv(PIXELS_SETTING, "100")
    with pytest.raises(ImageError, match="at most 100 are decoded"):
        load_image(path)
    with pytest.raises(ImageError, match="an image array has 20 x 20 pixels; expected 1 to 100"):
        load_image(np.zeros((20, 20), np.uint8))
    with pytest.raises(ImageError, match="a PIL image has 20 x 20 pixels"):
        load_image(Image.new("L", (20, 20)))
    monkeypatch.setenv(PIXELS_SETTING, "many")
    with pytest.raises(ConfigError, match="expected a whole number of pixels"):
        load_image(path)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
NO_PICTURES = {
    "PostScript": POSTSCRIPT,
    "PostScript of DOS": b"\xc5\xd0\xd3\xc6" + bytes(28) + POSTSCRIPT,
    "FITS": b"SIMPLE  =                    T" + bytes(2850),
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
    "FPX": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "text": b"root:x:0:0:root:/root:/bin/bash\n",
    "HTML": b"<!doctype html><html></html>",
    "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_of_a_known_kind_is_refused_by_its_content(name, tmp_path, monkeypatch):
    path, program = tmp_path / "a.jpg", tmp_path / "bin" / "gs"
    path.write_bytes(NO_PICTURES[name])
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for read in (load_image, image_head):
        with pytest.raises(ImageError, match=r"a\.jpg cannot be decoded: its content is none of JPEG, PNG"):
            read(path)
    assert not (tmp_path / "ran").exists()


def test_a_pil_image_that_would_run_a_program_is_refused_until_it_is_decoded():
    with (
        Image.open(io.BytesIO(POSTSCRIPT)) as picture,
        pytest.raises(ImageError, match="EPS is not decoded here: give picture"),
    ):
        load_image(picture)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (torch.zeros(3, 4, 4).to_sparse(), "an image tensor cannot be read"),
        (torch.zeros(3, 4, 4, device="meta"), "an image tensor cannot be read"),
        (torch.zeros(3, 0, 4), r"an image array has shape \(0, 4, 3\)"),
        (np.broadcast_to(np.uint8(0), (2**20, 2**20)), "an image array has 1048576 x 1048576 pixels"),
        (np.full((4, 4), None), "an image array is object"),
        (Image.new("RGB", (0, 4)), "a PIL image has 4 x 0 pixels"),
    ],
)
def test_pictures_in_memory_are_checked_too(picture, message):
    with pytest.raises(ImageError, match=message):
        load_image(picture)


class Answers(http.server.BaseHTTPRequestHandler):
    """/picture is one, /large has no end, any other path leads to what stands behind its `?`."""

    def do_GET(self):
        path, _, target = self.path.partition("?")
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.end_headers()
        content = io.BytesIO()
        Image.new("RGB", (6, 4)).save(content, "PNG")
        with contextlib.suppress(OSError):
            while path == "/large":
                self.wfile.write(bytes(2**16))
            self.wfile.write(content.getvalue())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{opened.server_port}"
        opened.shutdown()


def test_addresses_lead_to_pictures_of_the_web_and_nowhere_else(server, tmp_path, monkeypatch):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png")
    assert load_image(f"{server}/picture").shape == (4, 6, 3)
    assert load_image(f"{server}/moved?{server}/picture").shape == (4, 6, 3)
    for target in (f"file://{tmp_path}/a.png", "ftp://127.0.0.1/a.png", "gopher://127.0.0.1/"):
        with pytest.raises(DownloadError, match="cannot be fetched"):
            load_image(f"{server}/moved?{target}")
    monkeypatch.setattr(image, "DOWNLOAD_LIMIT", 2**20)
    with pytest.raises(DownloadError, match="is larger than 1 MiB"):
        load_image(f"{server}/large")
    with monkeypatch.context() as hurried:
        hurried.setattr(image, "DOWNLOAD_TIME", 0)
        with pytest.raises(DownloadError, match="takes over 0 seconds"):
            load_image(f"{server}/picture")
    with pytest.raises(DownloadError, match="cannot be fetched"):
        load_image("http://127.0.0.1:1/ a\n.png")
