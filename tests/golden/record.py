"""Makes the compact files of `data/` from the full recordings: `python -m tests.golden.record FOLDER`.

FOLDER holds `<program>/<config>/{out.npz,meta.json,masks.json}` as the original programs wrote them (Detectron2
02b5c4e, torchvision 0.28, mmdetection 3.3.0, Detectron.pytorch 1b1c4ba; torch 2.13 on a CPU). Kept are 64 samples of
each tensor of the first picture, its proposals and masks, the detections of all pictures, losses and gradient norms.
"""

import json
import sys
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
SAMPLES = 64
PROGRAMS = ("detectron2", "torchvision", "mmdet", "detectron_pytorch")
KEPT_META = ("lib", "config", "seed", "fill_overrides", "fill_keep", "losses", "grad_norms", "train", "state_dict")


def record(source: Path) -> Path:
    """One recording -> data/<program>__<config>.npz."""
    meta = json.loads((source / "meta.json").read_text())
    compact = {key: meta[key] for key in KEPT_META if key in meta}
    compact["shapes"] = {name: row["shape"] for name, row in meta["tensors"].items() if name.startswith("img0/")}
    compact["net_input"] = [image["net_input"] for image in meta["images"]]
    masks = source / "masks.json"
    if masks.is_file():
        compact["masks"] = json.loads(masks.read_text())["img0"]
    arrays = {"meta": np.frombuffer(json.dumps(compact, separators=(",", ":")).encode(), np.uint8)}
    with np.load(source / "out.npz") as full:
        for name in full.files:
            if "/det/" in name or "/proposals_in/" in name or name.startswith("img0/proposals/"):
                arrays[name] = full[name]
            elif name.startswith("img0/") and name.endswith(("@idx", "@val")):
                arrays[name] = full[name][:SAMPLES]
    target = DATA / f"{source.parent.name}__{source.name}.npz"
    np.savez_compressed(target, **arrays)
    return target


if __name__ == "__main__":
    for program in PROGRAMS:
        for meta_file in sorted((Path(sys.argv[1]) / program).glob("*/meta.json")):
            file = record(meta_file.parent)
            print(f"{file.name}: {file.stat().st_size // 1024} KiB")
