"""Masks resized to the nearest pixel from run lengths to run lengths: no bitmap is made."""

from typing import Any

import numpy as np

from boxwright.ops.cpu.coco_runs import read_runs
from boxwright.ops.cpu.kernel import exact_kernel

LONGEST_NUMBER = 7  # letters of a length of 32 bits, with its sign


def resize_runs(counts: bytes, height: int, rows: Any, columns: Any) -> bytes:
    """A mask of `height` rows as COCO's text, and the row and column that each new row and column is taken from, both
    ascending -> the new mask as COCO's text.
    """
    text = np.frombuffer(counts, np.uint8)
    rank = np.searchsorted(rows, np.arange(height + 1))  # how many of the new rows come from before each row
    most = min(len(columns) * (len(text) + 1), len(rows) * len(columns)) + 2
    lengths = np.empty(most, np.uint32)
    count = _select(text, np.empty(len(text), np.uint32), rank, columns, lengths)
    written = np.empty(count * LONGEST_NUMBER, np.uint8)
    return bytes(written[: write_runs(lengths, count, written)])


@exact_kernel
def _select(text, counts, rank, columns, lengths):
    """Writes the new lengths and returns how many; `counts` is scratch."""
    num_runs = read_runs(text, 0, len(text), counts, 0)
    height, new_height = len(rank) - 1, rank[-1]
    run, begin = 1, np.int64(counts[0])  # a run of ones, and where it begins
    count, filled = 0, np.int64(0)
    for column in range(len(columns)):
        start = columns[column] * height
        while run < num_runs and begin + counts[run] <= start:
            begin += np.int64(counts[run]) + (np.int64(counts[run + 1]) if run + 1 < num_runs else 0)
            run += 2
        here, at = run, begin
        while here < num_runs and at < start + height:
            end = at + np.int64(counts[here])
            first = column * new_height + rank[max(at - start, 0)]
            last = column * new_height + rank[min(end - start, height)]
            if last > first and first == filled and count > 0:
                lengths[count - 1] += last - first
                filled = last
            elif last > first:
                lengths[count], lengths[count + 1] = first - filled, last - first
                count += 2
                filled = last
            at = end + (np.int64(counts[here + 1]) if here + 1 < num_runs else 0)
            here += 2
    if filled < new_height * len(columns):
        lengths[count] = new_height * len(columns) - filled
        count += 1
    return count


@exact_kernel
def write_runs(runs, count, text):
    """The first `count` lengths as COCO's text -> its length. From the fourth on each is written as the difference to
    the one two before, five bits a letter."""
    n = 0
    for i in range(count):
        value = np.int64(runs[i]) - (np.int64(runs[i - 2]) if i > 2 else 0)
        is_last = False
        while not is_last:
            letter = value & 31
            value >>= 5
            is_last = value == (-1 if letter & 16 else 0)
            text[n] = 48 + (letter if is_last else letter | 32)
            n += 1
    return n
