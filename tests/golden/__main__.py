"""Prints every recorded model and stage: `python -m tests.golden [NAME ...] [--train|--test]`."""

import sys
import time

import torch

from tests.golden.compare import Comparison, Row
from tests.golden.recordings import Recording, recordings


def main(arguments: list[str]) -> int:
    names = [argument for argument in arguments if not argument.startswith("--")]
    chosen = [entry for entry in recordings() if not names or any(name in entry.file.stem for name in names)]
    failed = 0
    print(f"{'model':<62} {'stage':<22} {'worst':>9} {'limit':>9}")
    for recording in chosen:
        for row in rows(recording, arguments):
            failed += not row.passed
            mark = "pass" if row.passed else "FAIL"
            print(f"{recording.file.stem:<62} {row.stage:<22} {row.worst:9.1e} {row.limit:9.1e} {mark}", flush=True)
    print(f"{len(chosen)} models, {failed} stages beyond their limit")
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
