"""Detections on their way into a COCO results file: each process writes a part of its own, the first joins them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boxwright.engine.distributed import World
from boxwright.evaluation.results_file import ResultsWriter, join_results, results_file


@contextmanager
def saving(path: str | Path | None, world: World) -> Iterator[ResultsWriter | None]:
    """A writer of this process's detections; None where nothing is to be saved."""
    if path is None:
        yield None
        return
    with results_file(path if world.size == 1 else _part(path, world.rank)) as writer:
        yield writer


def join_parts(path: str | Path | None, world: World) -> None:
    """Makes one file of all, when every process has written its part."""
    if path is not None and world.size > 1 and world.is_main:
        join_results(path, [_part(path, rank) for rank in range(world.size)])


def _part(path: str | Path, rank: int) -> Path:
    return Path(path).with_name(f".{Path(path).name}.rank{rank}")
