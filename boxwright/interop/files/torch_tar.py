"""Torch files of 2016: a tar archive with the members "storages", "tensors" and "pickle".

storages  a count; then for each: a pickled (key, device, class), the number of elements, the elements;
          at the end a pickled list of views (key, key of the whole, start, length)
tensors   a count; then for each: a pickled (key, key of its storage, class), the number of dimensions, the shape,
          the strides, the offset
pickle    the objects, whose persistent ids are those keys
"""

import struct
import sys
from typing import Any, BinaryIO

import torch

from boxwright.interop.files.byte_source import Budget, Source
from boxwright.interop.files.pickle import Machine
from boxwright.interop.files.pickle_numbers import STORAGES, make_tensor
from boxwright.interop.files.pickle_values import MAX_DIMENSIONS, Context, Global, Storage, settle, width_of
from boxwright.interop.files.torch_file import swap_bytes

_BLOCK = 512
_MOST_MEMBERS = 5_000  # storages, tensors or views, whose keys are numbers that a file can choose; models had hundreds
_REGULAR = (b"0", b"\0")


def read_tar(file: BinaryIO, *, name: str, size: int) -> Any:
    """The content of a torch tar file as plain data."""
    budget = Budget(name=name, file_size=size)
    members = _members(Source(file, name=name, end=size))

    def context(member: str) -> Context:
        if member not in members:
            raise Source(file, name=name, end=size).damaged(f"the member {member!r} of the tar archive is missing")
        start, end = members[member]
        return Context(source=Source(file, name=f"{name} ({member})", start=start, end=end), budget=budget)

    storages = _read_storages(context("storages"))
    known: dict[int, Any] = {**storages, **_read_tensors(context("tensors"), storages)}
    last = context("pickle")
    return settle(Machine(last, persistent=lambda key: _find(known, key, last)).load(), last.source)


def _members(source: Source) -> dict[str, tuple[int, int]]:
    """Name -> (start, end) of each regular file in the archive. Extended headers are passed over."""
    found: dict[str, tuple[int, int]] = {}
    while source.left >= _BLOCK:
        header = source.take(_BLOCK)
        if not header.strip(b"\0"):
            break
        name = header[:100].rstrip(b"\0").decode("latin-1").removeprefix("./")
        try:
            size, checksum = (int(field.strip(b"\0 ") or b"0", 8) for field in (header[124:136], header[148:156]))
        except ValueError:
            raise source.damaged("a header of the tar archive is broken") from None
        if checksum != sum(header[:148]) + sum(header[156:]) + 8 * ord(" "):
            raise source.damaged("a header of the tar archive does not match its checksum")
        start = source.position
        if header[156:157] in _REGULAR:
            found[name] = (start, start + size)
        source.skip(-(-size // _BLOCK) * _BLOCK)
    return found


def _pickle(context: Context) -> Any:
    return Machine(context).load()


def _count(context: Context) -> int:
    count = _pickle(context)
    if type(count) is not int or not 0 <= count <= _MOST_MEMBERS:
        raise context.source.damaged("the number of members is no number")
    return count


def _read_storages(context: Context) -> dict[int, Storage]:
    source = context.source
    storages: dict[int, Storage] = {}
    for _ in range(_count(context)):
        match _pickle(context):
            case (int() as key, _, Global(name=kind)) if kind in STORAGES:
                storages[key] = _read_storage(context, STORAGES[kind])
            case _:
                raise source.damaged("a storage is described in an unknown way")
    views = _pickle(context)
    if not isinstance(views, list) or len(views) > _MOST_MEMBERS:
        raise source.damaged("the list of views is missing")
    for view in views:
        match view:
            case (int() as key, int() as root, int() as start, int() as length) if (
                root in storages and min(start, length) >= 0 and start + length <= storages[root].count
            ):
                whole = storages[root]
                storages[key] = Storage(memory=whole.memory, dtype=whole.dtype, count=length, start=start)
            case _:
                raise source.damaged("a view of a storage lies outside it")
    return storages


def _read_storage(context: Context, kind: torch.dtype | None) -> Storage:
    (count,) = struct.unpack("<q", context.source.take(8))
    nbytes = count * width_of(kind)
    if not 0 <= nbytes <= context.source.left:
        raise context.source.unsafe(
            f"a storage claims {count:,} elements, and {context.source.left:,} bytes are left in the file",
            "The file is cut short, damaged or hostile: fetch it again.",
        )
    context.budget.take(nbytes, "a storage")
    memory = torch.empty(nbytes, dtype=torch.uint8)
    context.source.read_into(memory.numpy().data)
    if sys.byteorder != "little":
        swap_bytes(memory, kind)
    return Storage(memory=memory, dtype=kind, count=count, filled=True)


def _read_tensors(context: Context, storages: dict[int, Storage]) -> dict[int, torch.Tensor]:
    source = context.source
    tensors: dict[int, torch.Tensor] = {}
    for _ in range(_count(context)):
        match _pickle(context):
            case (int() as key, int() as storage, Global()) if storage in storages:
                (dimensions,) = struct.unpack("<i4x", source.take(8))
                if not 0 <= dimensions <= MAX_DIMENSIONS:
                    raise source.damaged(f"a tensor of {dimensions} dimensions")
                numbers = struct.unpack(f"<{2 * dimensions + 1}q", source.take(8 * (2 * dimensions + 1)))
                shape, stride, offset = numbers[:dimensions], numbers[dimensions:-1], numbers[-1]
                tensors[key] = make_tensor(context, storages[storage], offset, shape, stride)
            case _:
                raise source.damaged("a tensor is described in an unknown way")
    return tensors


def _find(known: dict[int, Any], key: Any, context: Context) -> Any:
    """Keys are numbers, which old pickles also write as text."""
    number = int(key) if isinstance(key, str) and key.isdecimal() and len(key) < 25 else key
    if type(number) is not int or number not in known:
        shown = repr(key)[:40] if type(number) is int else f"by a {type(key).__name__}"
        raise context.source.damaged(f"it refers to weights {shown}, which are not in the file")
    return known[number]
