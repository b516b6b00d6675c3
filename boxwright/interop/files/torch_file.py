"""Files of torch.save, of every age, read without torch.load.

    zip     since PyTorch 1.6: data.pkl, one record per storage, checksums
    legacy  0.1.10 to 1.5: five pickles one after the other, then the storages
    tar     before that: "storages", "tensors" and "pickle" in a tar archive

In all of them a pickle describes the objects and names its storages by key. The pickle goes through `Machine`; the
storages are read once, straight into the memory that the tensors then look into.
"""

import io
import struct
import sys
from typing import Any, BinaryIO

import torch

from boxwright.errors import UnsafeFileError, WeightsError
from boxwright.interop.files.byte_source import Budget, Source
from boxwright.interop.files.pickle import Machine
from boxwright.interop.files.pickle_globals import STORAGES
from boxwright.interop.files.pickle_values import Context, Global, Storage, as_text, settle, width_of
from boxwright.interop.files.zip_records import ZipRecords

MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
MAX_STORAGES = 100_000


def read_zip(file: BinaryIO, *, name: str, size: int) -> Any:
    """The content of a torch zip file as plain data."""
    budget = Budget(name=name, file_size=size)
    return _ZipReader(ZipRecords(file, name=name, size=size, budget=budget), budget).load()


def read_legacy(file: BinaryIO, *, name: str, size: int) -> Any:
    """The content of a torch file from before the zip format."""
    source = Source(file, name=name, end=size)
    return settle(_LegacyReader(source, Budget(name=name, file_size=size)).load(), source)


def read_nested(data: bytes, budget: Budget) -> Any:
    """The storage in a small torch file that stands inside a pickle, as the machine's stand-in."""
    source = Source(io.BytesIO(data), name=f"{budget.name} (a storage inside it)", end=len(data))
    return _LegacyReader(source, budget).load()


class _ZipReader:
    def __init__(self, records: ZipRecords, budget: Budget) -> None:
        self.records = records
        self.budget = budget
        self.root = self._root()
        self.is_swapped = self._byte_order() != sys.byteorder
        self.storages: dict[str, torch.Tensor] = {}

    def load(self) -> Any:
        pickled = self.records.read(f"{self.root}data.pkl").numpy()
        self.source = Source(io.BytesIO(pickled.data), name=f"{self.records.name} (data.pkl)", end=pickled.size)
        context = Context(source=self.source, budget=self.budget, read_nested=read_nested)
        value = settle(Machine(context, persistent=self._storage).load(), self.source)
        if self.source.left:
            raise self.source.damaged(f"the pickle ends here, and {self.source.left:,} bytes follow")
        return value

    def _root(self) -> str:
        names = self.records.records
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl") and name.count("/") <= 1]
        if len(roots) != 1:
            first = ", ".join(repr(name[:40]) for name in list(names)[:3]) or "nothing"
            raise WeightsError(
                f"{self.records.name}: a zip file, and not one of torch.save: it holds {first} and no data.pkl. "
                "Give the file of weights itself."
            )
        if f"{roots[0]}constants.pkl" in names:
            raise UnsafeFileError(
                f"{self.records.name}: a TorchScript archive, which is a program and not weights alone. Where you "
                "trust it, save its weights: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')."
            )
        return roots[0]

    def _byte_order(self) -> str:
        record = f"{self.root}byteorder"
        if record not in self.records.records:
            return "little"  # before the record existed there were only such machines
        return bytes(self.records.read(record).numpy()[:8]).decode("latin-1")

    def _storage(self, key: Any) -> Storage:
        kind, record, count, view = _storage_key(key, self.source)
        if view is not None:
            raise self.source.damaged("a storage is a view of another one, as only older files have it")
        memory = self.storages.get(record)
        if memory is None:
            memory = self.storages[record] = self.records.read(f"{self.root}data/{record}")
            if self.is_swapped:
                swap_bytes(memory, kind)
        if count * width_of(kind) > memory.numel():
            raise self.source.unsafe(
                f"storage {record!r} claims {count:,} elements, and its record holds {memory.numel():,} bytes",
                "The file is damaged or hostile: fetch it again.",
            )
        return Storage(memory=memory, dtype=kind, count=count, filled=True)


class _LegacyReader:
    def __init__(self, source: Source, budget: Budget) -> None:
        self.source = source
        self.budget = budget
        self.context = Context(source=source, budget=budget)
        self.storages: dict[str, Storage] = {}

    def load(self) -> Any:
        """What the pickle describes, with stand-ins; the storages behind it are read."""
        if self._pickle() != MAGIC or self._pickle() != LEGACY_VERSION:
            raise self.source.damaged("it begins unlike any file of torch.save")
        self._pickle()  # facts of the machine that wrote it; storages are little-endian on every machine
        value = Machine(self.context, persistent=self._storage).load()
        keys = self._pickle()
        if not isinstance(keys, list) or len(keys) > MAX_STORAGES:
            raise self.source.damaged("the list of its storages is missing")
        for key in keys:
            self._fill(str(as_text(key)))
        if missing := [key for key, storage in self.storages.items() if not storage.filled]:
            raise self.source.damaged(f"storage {missing[0]!r} is missing")
        return value

    def _pickle(self) -> Any:
        return settle(Machine(self.context).load(), self.source)

    def _storage(self, key: Any) -> Storage:
        kind, name, count, view = _storage_key(key, self.source)
        storage = self.storages.get(name)
        if storage is None:
            storage = self.storages[name] = self._reserve(kind, count)
        if storage.dtype != kind or storage.count != count:
            raise self.source.damaged(f"storage {name!r} is described in two ways")
        if view is None:
            return storage
        match view:
            case (_, int() as start, int() as length) if min(start, length) >= 0 and start + length <= count:
                return Storage(memory=storage.memory, dtype=kind, count=length, start=start)
        raise self.source.damaged(f"storage {name!r} has a view outside itself")

    def _reserve(self, kind: torch.dtype | None, count: int) -> Storage:
        """Memory for a storage whose bytes come later in the file, so they cannot be more than are left."""
        nbytes = count * width_of(kind)
        if nbytes > self.source.left:
            raise self.source.unsafe(
                f"a storage claims {nbytes:,} bytes, and {self.source.left:,} are left in the file",
                "The file is cut short, damaged or hostile: fetch it again.",
            )
        self.budget.take(nbytes, "a storage")
        return Storage(memory=torch.empty(nbytes, dtype=torch.uint8), dtype=kind, count=count)

    def _fill(self, key: str) -> None:
        storage = self.storages.get(key)
        count = struct.unpack("<q", self.source.take(8))[0]
        if storage is None or storage.filled or count != storage.count:
            raise self.source.damaged(f"storage {key!r} is not the one described")
        self.source.read_into(storage.memory.numpy().data)
        if sys.byteorder != "little":
            swap_bytes(storage.memory, storage.dtype)
        storage.filled = True


def _storage_key(key: Any, source: Source) -> tuple[torch.dtype | None, str, int, Any]:
    """("storage", class, key, device, count[, view]) -> element type, key, count, view."""
    match key:
        case ("storage" | b"storage", Global(name=kind), name, _, int() as count) | (
            "storage" | b"storage",
            Global(name=kind),
            name,
            _,
            int() as count,
            _,
        ) if kind in STORAGES and isinstance(name, str | int | bytes) and 0 <= count < 2**60:
            return STORAGES[kind], as_text(name) or str(name), count, key[5] if len(key) > 5 else None
    raise source.damaged("weights outside the pickle are described in an unknown way")


def swap_bytes(memory: torch.Tensor, kind: torch.dtype | None) -> None:
    """From the byte order of the machine that wrote it to ours, in place."""
    width = width_of(kind) // (2 if kind is not None and kind.is_complex else 1)
    numbers = memory[: memory.numel() // width * width].view(-1, width)
    numbers.copy_(numbers.flip(1))
