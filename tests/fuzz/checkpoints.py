"""Small valid checkpoints of every container, and what feeding one to the reader may do. The long run is

    python -m tests.fuzz.checkpoints --minutes 10

Whatever the bytes are, the reader returns data or raises WeightsError.
"""

import io
import pickle
import random
import struct
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from boxwright.errors import WeightsError
from boxwright.interop.files.read import read_file
from boxwright.interop.write import write_safetensors
from tests.fuzz.long_run import LongRun, Read


def content() -> dict:
    """A little of everything that checkpoints hold."""
    weights = OrderedDict(
        {
            "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
            "turned": torch.arange(6.0).reshape(2, 3).t(),
            "steps": torch.tensor(7),
            "half": torch.ones(3, dtype=torch.float16),
        }
    )
    meta = {"epoch": 12, "CLASSES": ("cat", "dog"), "lr": [0.02, 1e-4], "config": "model = dict()\n", "seed": None}
    return {"state_dict": weights, "meta": meta, "best": np.float64(0.5), "history": np.arange(5)}


def torch_zip(data: object = None, *, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(content() if data is None else data, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def torch_legacy(data: object = None, *, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    torch.save(
        content() if data is None else data, buffer, _use_new_zipfile_serialization=False, pickle_protocol=protocol
    )
    return buffer.getvalue()


def plain_pickle(*, protocol: int = 2) -> bytes:
    arrays = {name: tensor.numpy() for name, tensor in content()["state_dict"].items()}
    return pickle.dumps({"model": arrays, "__author__": "somebody", "big": b"\xff" * 5_000}, protocol=protocol)


def safetensors() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        write_safetensors(path, content()["state_dict"], config="model: {}\n", class_names=["cat", "dog"])
        return path.read_bytes()


def torch_tar() -> bytes:
    """The format of 2016, which torch no longer writes: two tensors that look into one storage, and a view of it."""
    numbers = np.arange(6, dtype="<f4")
    storages = pickle.dumps(2, 2) + pickle.dumps((11, "cpu", torch.FloatStorage), 2)
    storages += struct.pack("<q", 6) + numbers.tobytes()
    storages += pickle.dumps((12, "cuda:0", torch.LongStorage), 2) + struct.pack("<qq", 1, 42)
    storages += pickle.dumps([(13, 11, 2, 4)], 2)
    tensors = pickle.dumps(3, 2)
    for key, storage, kind, shape, stride, offset in (
        (21, 11, torch.FloatTensor, (2, 3), (3, 1), 0),
        (22, 13, torch.FloatTensor, (2,), (1,), 1),
        (23, 12, torch.LongTensor, (1,), (1,), 0),
    ):
        tensors += pickle.dumps((key, storage, kind), 2) + struct.pack("<ii", len(shape), 0)
        tensors += struct.pack(f"<{2 * len(shape) + 1}q", *shape, *stride, offset)
    saved = b"\x80\x02}(X\x01\0\0\0aK\x15QX\x01\0\0\0bK\x16QX\x01\0\0\0cK\x17QX\x01\0\0\0sK\x0bQu."
    members = {"sys_info": pickle.dumps({}, 2), "pickle": saved, "tensors": tensors, "storages": storages}
    return b"".join(tar_member(name, data) for name, data in members.items()) + b"\0" * 1024


def tar_member(name: str, data: bytes) -> bytes:
    header = bytearray(512)
    header[: len(name)] = name.encode()
    header[124:136] = b"%011o\0" % len(data)
    header[156:157] = b"0"
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * 32)
    return bytes(header) + data + b"\0" * (-len(data) % 512)


def rezip(data: bytes, changes: dict[str, bytes | None], *, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file with some records replaced, added, or (None) left out. Checksums are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        records = {name: old.read(name) for name in old.namelist()} | changes
        for name, record in records.items():
            if record is not None:
                new.writestr(name, record)
    return buffer.getvalue()


def with_pickle(pickled: bytes) -> bytes:
    """A torch zip file around a pickle of one's own."""
    return rezip(torch_zip(), {"archive/data.pkl": pickled})


SEEDS = {
    "torch zip": torch_zip,
    "torch legacy": torch_legacy,
    "torch tar": torch_tar,
    "pickle": plain_pickle,
    "text pickle": lambda: plain_pickle(protocol=0),
    "pickle 4": lambda: plain_pickle(protocol=4),
    "safetensors": safetensors,
}


def feed(data: bytes, path: Path, read: Read = read_file) -> bool:
    """Whether the reader accepts `data`. Every error but ours comes through."""
    path.write_bytes(data)
    try:
        read(path)
    except WeightsError as error:
        if error.__cause__ is not None and isinstance(error.__cause__, (NameError, AssertionError)):
            raise  # a mistake of ours that the reader's last net caught
        return False
    return True


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut, repeated or moved."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(changed)) if changed else 0
        length = chance.randint(1, 64)
        match chance.randrange(6):
            case 0 if changed:
                changed[place] ^= 1 << chance.randrange(8)
            case 1 if changed:
                changed[place] = chance.randrange(256)
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[place : place + length]
            case 4:
                changed[place : place + 4] = struct.pack("<I", chance.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
            case 5:
                changed[place : place + 8] = struct.pack("<Q", chance.choice((0, 2**31, 2**40, 2**63, 2**64 - 1)))
    return bytes(changed)


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Half are changed files, half change the pickle inside a zip whose checksums then are right."""
    if chance.random() < 0.5:
        return with_pickle(mutate(zipfile.ZipFile(io.BytesIO(seeds[0])).read("archive/data.pkl"), chance))
    return mutate(chance.choice(seeds), chance)


if __name__ == "__main__":
    LongRun(
        seeds=[make() for make in SEEDS.values()],
        changed=changed,
        feed=feed,
        module="boxwright.interop.files.read",
        reader="read_file",
        failure="fuzz-failure.bin",
    ).main(__doc__)
