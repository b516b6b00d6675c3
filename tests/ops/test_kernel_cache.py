"""Compiled kernels are kept on disk, for many processes at once, after a fork, in as many threads as torch has."""

import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from boxwright import ops
from boxwright.ops.cpu import threads
from tests.ops.cases import random_boxes, random_index

WORK = """
import sys
import torch
from boxwright import ops
boxes = torch.arange(40.0).view(10, 4).cumsum(1)
with ops.use_backend("cpu"):
    print(float(ops.box_iou(boxes, boxes).sum()))
from boxwright.ops.cpu import iou
stats = iou._iou_rows.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
print("numba.core.inline_closurecall" in sys.modules)
print("torch._dynamo" in sys.modules)
"""


def start(cache):
    return subprocess.Popen(
        [sys.executable, "-c", WORK],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(ops.__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    total, counts, has_numbas, has_torchs = out.splitlines()
    assert has_torchs == "False", "torch's compiler is imported: a second or more of every start"
    return float(total), counts, has_numbas


def test_processes_compile_at_once_and_the_next_one_does_not(tmp_path):
    boxes = torch.arange(40.0).view(10, 4).cumsum(1)
    expected = float(ops.box_iou(boxes, boxes).sum())
    together = [finish(p) for p in [start(tmp_path) for _ in range(2)]]
    assert [total for total, *_ in together] == [expected] * 2
    assert finish(start(tmp_path)) == (expected, "1 0", "False"), (
        "what is stored is compiled again, or a compiler set up"
    )


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    process = start(blocked / "cache")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert float(out.splitlines()[0]) > 0


def suppress():
    boxes, groups = random_boxes(4000), random_index(4000, 2)
    return ops.nms(boxes, boxes[:, 0], groups, iou_threshold=0.5).tolist()


def answer(connection):
    connection.send(suppress())
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_kernels_run(num_threads):
    num_threads(2)
    expected = suppress()  # the parent's threads are up
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=answer, args=(theirs,))
    child.start()
    theirs.close()
    assert ours.poll(60), "the child hangs"
    assert ours.recv() == expected
    child.join(60)
    assert child.exitcode == 0


@pytest.fixture(params=["region", "pool"])
def way(request, monkeypatch):
    """Both ways to more threads."""
    monkeypatch.setattr(threads, "_is_forked", request.param == "pool")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_threads_work_as_torch_has(num_threads, count):
    num_threads(count)
    # No chunk ends before `count` threads hold one: with fewer the barrier would break, with more a fourth would come.
    barrier, seen = threading.Barrier(count, timeout=30), set()

    def work(begin, end):
        seen.add(threading.get_ident())
        barrier.wait()

    threads.run_chunks(work, 4 * count, 1)
    assert len(seen) == count


@pytest.mark.usefixtures("way")
def test_each_item_is_worked_on_once(num_threads):
    for count, items, chunk in ((1, 0, 4), (3, 1, 4), (3, 10, 4), (2, 12, 4), (5, 100, 1)):
        num_threads(count)
        ranges = []
        threads.run_chunks(lambda begin, end, ranges=ranges: ranges.append((begin, end)), items, chunk)
        assert sorted(i for begin, end in ranges for i in range(begin, end)) == list(range(items))


@pytest.mark.usefixtures("way")
def test_an_error_in_a_helper_arrives(num_threads):
    num_threads(2)
    barrier = threading.Barrier(2, timeout=30)

    def work(begin, end):
        barrier.wait()
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("from a helper")

    with pytest.raises(ValueError, match="from a helper"):
        threads.run_chunks(work, 2, 1)
