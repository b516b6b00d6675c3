"""Opens files of every kind with every reader of user data, and tells what the interpreter was asked for meanwhile.

    python -m tests.audited_readers FOLDER

FOLDER is empty and becomes the only place that readers may look at. Printed is a JSON object: reader -> list of events
that break the promise. The last reader breaks it on purpose.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boxwright as bw
from boxwright.config import load_config
from boxwright.data.check import check_dataset
from boxwright.data.formats.convert import write_dataset
from boxwright.data.formats.reading import read_all_splits
from boxwright.data.image import image_head, load_image
from boxwright.data.synth import generate
from boxwright.errors import BoxwrightError
from boxwright.evaluation import read_detections, read_ground_truth
from boxwright.interop.config import read_config_report
from boxwright.interop.files.read import read_file
from boxwright.types import Detections
from tests.data.hostile_pictures import hostile_pictures, many_frames
from tests.fuzz.checkpoints import SEEDS as CHECKPOINTS
from tests.fuzz.checkpoints import with_pickle

STARTS = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
OPENS = ("open", "os.listdir", "os.scandir")
INTERPRETER = (
    sys.prefix,
    sys.base_prefix,
    "/usr/lib",
    "/usr/share/zoneinfo",
    "/proc/self",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
)
HARMFUL_PICKLE = b"cos\nsystem\n(S'touch ran'\ntR."


class Watch:
    """Keeps the events that no reader may cause, while it `is_watching`."""

    def __init__(self, folder: Path) -> None:
        self.allowed = (str(folder), *INTERPRETER, str(Path(bw.__file__).parent))
        self.events: list[str] = []
        self.is_watching = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_watching:
            return
        if event.startswith((*STARTS, "socket.")) or (event in OPENS and self._is_elsewhere(arguments[0])):
            self.events.append(f"{event} {arguments[0]!r}")

    def _is_elsewhere(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return False  # a descriptor: of a file that was looked at when it was opened
        place = os.path.abspath(os.fsdecode(path))
        return place != os.devnull and not place.startswith(self.allowed)

    def during(self, read: Callable[[], object]) -> list[str]:
        self.events, self.is_watching = [], True
        try:
            read()
        except (BoxwrightError, OSError):
            pass
        finally:
            self.is_watching = False
        return self.events


def each(read: Callable[[Path], object], paths: list[Path]) -> Callable[[], None]:
    """Every file, whether the one before it could be read or not."""

    def read_all() -> None:
        for path in paths:
            try:
                read(path)
            except BoxwrightError:
                continue

    return read_all


def written(folder: Path, contents: dict[str, bytes], ending: str) -> list[Path]:
    folder.mkdir()
    for name, content in contents.items():
        (folder / f"{name}{ending}").write_bytes(content)
    return sorted(folder.iterdir())


def make_data(folder: Path) -> list[Path]:
    """Data sets in every format; each knows of files elsewhere."""
    generate(folder / "coco", kind="shapes", images=4, size=64, seed=0)
    for name in ("voc", "cityscapes", "yolo", "lvis"):
        write_dataset(read_all_splits(folder / "coco", use_index=False), folder / name, to=name)  # type: ignore[arg-type]
    for name in ("coco", "lvis"):
        content = json.loads((folder / name / "train.json").read_text())
        for entry, elsewhere in zip(content["images"], ("/etc/passwd", "../../../../../../etc/hostname"), strict=False):
            entry["file_name"] = elsewhere
        (folder / name / "train.json").write_text(json.dumps(content))
    for path in (folder / "voc" / "Annotations").iterdir():
        named = path.read_text().replace("<filename>", "<filename>/etc/")
        path.write_text(f'<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/a.dtd">\n{named}')
    with (folder / "yolo" / "data.yaml").open("a") as file:
        file.write("download: curl http://127.0.0.1:9/set.zip\n")
    return [folder / name for name in ("coco", "lvis", "voc", "cityscapes", "yolo")]


def readers(folder: Path) -> dict[str, Callable[[], object]]:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    pictures = {**hostile_pictures(), "EPS": postscript, **{kind: many_frames(kind, 3) for kind in ("GIF", "TIFF")}}
    picture_files = written(folder / "pictures", pictures, ".jpg")
    checkpoints = {name: make() for name, make in CHECKPOINTS.items()}
    hostile = {"pickle": HARMFUL_PICKLE, "zip": with_pickle(b"\x80\x02" + HARMFUL_PICKLE)}
    checkpoint_files = written(folder / "checkpoints", checkpoints | hostile, ".pth")
    configs = written(
        folder / "configs",
        {
            "python.py": b"import os\nos.system('touch ran')\nmodel = dict(type='FasterRCNN')\n",
            "call.py": b"model = __import__('subprocess').run(['touch', 'ran'])\n",
            "object.yaml": b"model: !!python/object/apply:os.system ['touch ran']\n",
        },
        "",
    )
    (folder / "results.json").write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.5}]')
    sets = make_data(folder)
    truth = read_ground_truth(folder / "coco" / "val.json")
    return {
        "pictures": each(load_image, picture_files),
        "heads of pictures": each(image_head, picture_files),
        "checkpoints": each(read_file, checkpoint_files),
        "models": each(lambda path: bw.load(path, device="cpu"), checkpoint_files),
        "configs of others": each(read_config_report, configs),
        "configs": each(load_config, configs),
        "data sets": each(lambda path: read_all_splits(path, use_index=False), sets),
        "checks": each(lambda path: check_dataset(path, with_images=False), sets),
        "copies": each(
            lambda path: write_dataset(read_all_splits(path, use_index=False), folder / f"{path.name}-copy", to="coco"),
            sets,
        ),
        "ground truth": lambda: read_ground_truth(folder / "coco" / "train.json"),
        "results": lambda: read_detections(folder / "results.json", truth),
        "detections": each(Detections.load, [folder / "results.json", *configs]),
        "a reader that breaks the promise": break_promise,
    }


def break_promise() -> None:
    with open("/etc/hostname", "rb"), socket.socket():
        subprocess.run(["true"], check=True)


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    named, watch = readers(folder), Watch(folder)
    print(json.dumps({name: watch.during(read) for name, read in named.items()}))


if __name__ == "__main__":
    main()
