"""The long fuzzing run: guided by coverage (atheris) where that is installed, random mutation where it is not.

Whatever a case is, the reader returns data or raises the error that is its own; anything else stops the run and leaves
the case in the file `failure`.
"""

import argparse
import importlib
import importlib.util
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Read = Callable[[Path], object]
SLOWEST = 10  # seconds for one small file


@dataclass(frozen=True)
class LongRun:
    """`changed` draws a new case from the seeds, `feed` gives one to the function `reader` of `module`."""

    seeds: Sequence[bytes]
    changed: Callable[[random.Random, Sequence[bytes]], bytes]
    feed: Callable[[bytes, Path, Read], bool]
    module: str
    reader: str
    failure: str

    def main(self, description: str | None) -> None:
        parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--minutes", type=float, default=10.0)
        parser.add_argument("--random", action="store_true", help="random mutation even where atheris is installed")
        options = parser.parse_args()
        with tempfile.TemporaryDirectory() as folder:
            if importlib.util.find_spec("atheris") and not options.random:
                self._guided(60 * options.minutes, Path(folder))
            else:
                self._random(60 * options.minutes, Path(folder) / "case")

    def _read(self) -> Read:
        read: Read = getattr(importlib.import_module(self.module), self.reader)
        return read

    def _random(self, seconds: float, path: Path) -> None:
        chance, read = random.Random(int(time.time())), self._read()
        end, runs, accepted = time.monotonic() + seconds, 0, 0
        while time.monotonic() < end:
            data = self.changed(chance, self.seeds)
            start = time.monotonic()
            try:
                accepted += self.feed(data, path, read)
            except BaseException:
                Path(self.failure).write_bytes(data)
                raise
            assert time.monotonic() - start < SLOWEST, f"one small file took over {SLOWEST} seconds"
            runs += 1
        print(f"{runs:,} files, {accepted:,} accepted, only our own errors")

    def _guided(self, seconds: float, folder: Path) -> None:
        import atheris

        corpus = folder / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(self.seeds):
            (corpus / str(number)).write_bytes(seed)
        for name in [name for name in sys.modules if name.startswith("boxwright.interop")]:
            del sys.modules[name]  # to be imported again, with counters of coverage in them
        with atheris.instrument_imports(include=["boxwright.interop"]):
            counted = self._read()
        limits = [f"-max_total_time={int(seconds)}", f"-timeout={SLOWEST}", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], str(corpus), *limits], lambda data: self.feed(data, folder / "case", counted))
        atheris.Fuzz()
