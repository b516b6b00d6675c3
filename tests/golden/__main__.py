"""Prints every recorded model and stage: `python -m tests.golden [NAME ...] [--train|--test] [--markdown]`.

With `--markdown` the table of `docs/models.md` follows, one line per model.
"""

import sys
import time

import torch

from tests.golden.compare import Comparison, Row
from tests.golden.recordings import Recording, recordings


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("--")]
    chosen = [entry for entry in recordings() if not names or any(name in entry.file.stem for name in names)]
    failed = 0
    found: dict[str, list[Row]] = {}
    print(f"{'model':<62} {'stage':<22} {'worst':>9} {'limit':>9}")
    for recording in chosen:
        of_model = rows(recording, arguments)
        for row in of_model:
            failed += not row.passed
            mark = "pass" if row.passed else "FAIL"
            print(f"{recording.file.stem:<62} {row.stage:<22} {row.worst:9.1e} {row.limit:9.1e} {mark}", flush=True)
        found[recording.file.stem] = of_model
    print(f"{len(chosen)} models, {failed} stages beyond their limit")
    if "--markdown" in arguments:
        print(markdown(found))
    return int(failed > 0)


def rows(recording: Recording, arguments: list[str]) -> list[Row]:
    started = time.perf_counter()
    comparison = Comparison(recording)
    found: list[Row] = []
    if "--train" not in arguments:
        found += comparison.inference()
    if "--test" not in arguments:
        found += comparison.training()
    print(
        f"{recording.file.stem}: {time.perf_counter() - started:.0f} s on {torch.get_num_threads()} threads",
        file=sys.stderr,
    )
    return found


COLUMNS = {  # heading -> the stages whose worst difference it shows
    "maps and logits": ("input", "features", "rpn", "pooled", "box scores", "box deltas"),
    "proposals beyond": ("proposals",),
    "detections beyond": ("detections",),
    "mask IoU lost": ("mask",),
    "keypoints beyond": ("keypoints",),
    "losses": ("loss",),
    "gradient norms": ("gradient",),
}


def markdown(found: dict[str, list[Row]]) -> str:
    lines = [f"| model | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, of_model in found.items():
        cells = []
        for prefixes in COLUMNS.values():
            worst = [row.worst for row in of_model if row.stage.startswith(prefixes)]
            cells.append(f"{max(worst):.0e}".replace("0e+00", "0") if worst else "")
        lines.append(f"| {name.replace('__', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
