"""Pieces of torch files, pickles, zip, tar and safetensors files, right and wrong, for hostile checkpoints."""

import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Iterable

import yaml

from boxwright.config import preset
from boxwright.config.load import dump_plain
from boxwright.config.yaml_text import write_yaml
from tests.fuzz.checkpoints import rezip, tar_member, torch_zip

MERSENNE = 2**61 - 1  # Python's hash of an integer is its remainder
HIDDEN = b"\x80\x02"


# Pieces of pickles


def integer(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def text(value: str) -> bytes:
    raw = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(raw)) + raw


def storage_key(name: str, count: int, kind: str = "FloatStorage", view: bytes = b"") -> bytes:
    """What stands for a storage, then the instruction that fetches it."""
    return (
        b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(name) + text("cpu") + integer(count) + view + b"tQ"
    )


def sizes(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(
    storage: bytes, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0, rest: bytes = b"\x89N"
) -> bytes:
    name = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return name + storage + integer(offset) + sizes(shape) + sizes(strides) + rest + b"tR"


def legacy(pickled: bytes, storages: dict[str, bytes], *, width: int = 4) -> bytes:
    """A torch file from before the zip format."""
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
    keys = pickle.dumps(sorted(storages), 2)
    content = b"".join(struct.pack("<q", len(raw) // width) + raw for _, raw in sorted(storages.items()))
    return head + HIDDEN + pickled + b"." + keys + content


def filled(size: int) -> bytes:
    return random.Random(0).randbytes(size)


def packed_zip(pickled: bytes, **storages: bytes) -> bytes:
    """A torch file whose records are deflated."""
    changes: dict[str, bytes | None] = {f"archive/data/{name}": raw for name, raw in storages.items()}
    return rezip(torch_zip({}), changes | {"archive/data.pkl": pickled}, compression=zipfile.ZIP_DEFLATED)


def zip_of(pickled: bytes, **storages: bytes) -> bytes:
    changes: dict[str, bytes | None] = {f"archive/data/{name}": raw for name, raw in storages.items()}
    return rezip(torch_zip({}), changes | {"archive/data.pkl": pickled})


def named(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """A whole pickle of a dict."""
    return HIDDEN + b"}(" + b"".join(text(name) + value for name, value in entries) + b"u."


def keys(values: Iterable[bytes]) -> bytes:
    return HIDDEN + b"}(" + b"".join(value + b"N" for value in values) + b"u."


# Keys of one hash


def colliding_integers() -> bytes:
    return keys(integer(7 + MERSENNE * n) for n in range(60_000))


def colliding_floats() -> bytes:
    return keys(b"G" + struct.pack(">d", float(m) * 2.0 ** (61 * k)) for m in range(1, 2_500) for k in range(-15, 16))


def crowded_integers() -> bytes:
    """Below 2**64, and of one place in every table up to 2**20."""
    return keys(b"\x8a\x09" + struct.pack("<QB", (n << 40) | 5, 0) for n in range(70_000))


def colliding_tuples() -> bytes:
    """Each is (n, m) with an m that brings the hash to one value."""
    return keys(integer(a) + integer(b) + b"\x86" for a, b in same_hash_pairs(4_000))


def same_hash_pairs(count: int) -> list[tuple[int, int]]:
    """Pairs of one hash, by the inverse of the two rounds of xxHash that Python hashes a tuple with."""
    p1, p2, p5 = 11400714785074694791, 14029467366897019727, 2870177450012600261
    full = 2**64

    def rotate(value: int, by: int) -> int:
        return (value << by | value >> (64 - by)) % full

    target = (p5 + 12_345 * p1) % full
    wanted = rotate(target * pow(p1, -1, full) % full, 64 - 31)
    pairs, first = [], 0
    while len(pairs) < count:
        first += 1
        lane = rotate((p5 + first * p2) % full, 31) * p1 % full
        second = (wanted - lane) * pow(p2, -1, full) % full
        if second < MERSENNE:
            pairs.append((first, second))
    return pairs


# safetensors


def safetensors(header: object, body: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def ours(*changes: str, names: object = (), base: str = "mask_rcnn_r50_fpn", **entries: object) -> bytes:
    """Our own file: settings, and hardly a weight."""
    settings = dump_plain(preset(base))
    for change in ("model.class_names=[]", *changes):  # as no schema would have them
        path, _, value = change.partition("=")
        *above, name = path.split(".")
        here = settings
        for step in above:
            here = here[int(step)] if isinstance(here, list) else here[step]
        here[int(name) if isinstance(here, list) else name] = yaml.safe_load(value)
    settings = write_yaml(settings)
    metadata = {"boxwright.config": settings, "boxwright.class_names": json.dumps(names)}
    return safetensors(
        {"__metadata__": metadata, "backbone.stem.weight": entry("F32", [1], 0, 4), **entries}, b"\0" * 4
    )


# Zip files


def overlapping_records(count: int = 3_000) -> bytes:
    """Each record is unpacked from the same bytes: 600 kB of blocks that hold nothing."""
    block = b"\0\0\0\xff\xff" * 120_000 + b"\1\0\0\xff\xff"
    pickled = HIDDEN + b"](" + b"".join(storage_key(str(n), 0, "ByteStorage") for n in range(count)) + b"e."
    local = b"PK\x03\x04" + struct.pack("<22xHH", 1, 0) + b"d" + block
    first = b"PK\x03\x04" + struct.pack("<22xHH", 10, 0) + b"a/data.pkl" + zlib.compress(pickled, 9)[2:-4]
    directory = directory_entry("a/data.pkl", method=8, packed=len(first) - 40, size=len(pickled), header=0)
    for n in range(count):
        directory += directory_entry(f"a/data/{n}", method=8, packed=len(block), size=0, header=len(first))
    end = b"PK\x05\x06" + struct.pack("<4xHHIIH", count + 1, count + 1, len(directory), len(first + local), 0)
    return first + local + directory + end


def directory_entry(name: str, *, method: int, packed: int, size: int, header: int, extra: bytes = b"") -> bytes:
    raw = name.encode()
    fields = struct.pack("<6xH4xIIIHHH8xI", method, 0, packed, size, len(raw), len(extra), 0, header)
    return b"PK\x01\x02" + fields + raw + extra


def long_extras() -> bytes:
    """Empty fields, 16,000 in each of 15 records."""
    extra = struct.pack("<HH", 9, 0) * 16_000
    directory = b"".join(directory_entry(f"r{n}", method=0, packed=0, size=0, header=0, extra=extra) for n in range(15))
    end = b"PK\x05\x06" + struct.pack("<4xHHIIH", 15, 15, len(directory), 4, 0)
    return b"PK\x03\x04" + directory + end


# Nested files


def nested_file(pickled: bytes = b"N.", keys: object = ()) -> bytes:
    head = b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {}))
    return head + HIDDEN + pickled + pickle.dumps(list(keys), 2)  # type: ignore[call-overload]


def loads(data: bytes, times: int) -> bytes:
    """One small torch file inside, read again and again."""
    call = b"ctorch.storage\n_load_from_bytes\nq\x00" + b"B" + struct.pack("<I", len(data)) + data + b"\x85q\x01"
    return HIDDEN + call + b"](" + b"h\x00h\x01R" * times + b"e."


def doubled(depth: int = 60) -> bytes:
    """A tuple that holds itself twice, again and again; then it is value `depth` of the memo."""
    return b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(depth))


def chain(depth: int) -> bytes:
    """Dicts each of which holds the one before it, and a list in which the innermost comes first."""
    links = b"".join(
        b"}r" + struct.pack("<I", n + 1) + text("model") + b"j" + struct.pack("<I", n) + b"s" for n in range(depth)
    )
    return (
        HIDDEN
        + b"}("
        + text("all")
        + b"]("
        + b"}r"
        + struct.pack("<I", 0)
        + links
        + b"e"
        + text("model")
        + b"j"
        + struct.pack("<I", depth)
        + b"u."
    )


def array(code: str, shape: bytes, raw: bytes) -> bytes:
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01" + shape
    return head + dtype(code) + b"\x89" + raw + b"tb"


def dtype(code: str, order: str = "<") -> bytes:
    state = b"(K\x03" + b"U\x01" + order.encode() + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return b"cnumpy\ndtype\n(" + b"U" + bytes([len(code)]) + code.encode() + b"K\x00K\x01tR" + state


def blob(size: int) -> bytes:
    return b"B" + struct.pack("<I", size) + b"a" * size


def text_opcode(value: bytes) -> bytes:
    return b"V" + value + b"\n"


ONE = storage_key("0", 1)
KILO = filled(1_000)
BIG = filled(800_000)


def tar_of(*, pickled: bytes = HIDDEN + b"}.", storages: bytes = b"", tensors: bytes = b"") -> bytes:
    none = pickle.dumps(0, 2)
    members = {"pickle": pickled, "tensors": tensors or none, "storages": storages or none + pickle.dumps([], 2)}
    return b"".join(tar_member(name, data) for name, data in members.items()) + b"\0" * 1_024


def twice(data: bytes) -> bytes:
    """The first two names of the directory are made one."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        names = file.namelist()
    place = data.rfind(b"PK\x01\x02", 0, data.rfind(b"PK\x01\x02"))
    del names
    first = data.index(b"PK\x01\x02")
    one = directory_end(data, first)
    return data[:first] + data[first:one] + data[one:place] + data[first:one] + data[directory_end(data, place) :]


def directory_end(data: bytes, start: int) -> int:
    return start + 46 + sum(struct.unpack_from("<HHH", data, start + 28))


def untyped_view(start: int, length: int, count: int = 64) -> bytes:
    """A part of an untyped storage, which counts in bytes."""
    view = b"(" + text("1") + integer(start) + integer(length) + b"t"
    return storage_key("0", count, "UntypedStorage", view)


def wide_numbers(storage: bytes, shape: tuple[int, ...], offset: int = 0) -> bytes:
    """A tensor of uint32, whose storage is untyped."""
    steps = tuple(1 for _ in shape)
    rest = b"\x89Nctorch\nuint32\n"
    name = b"ctorch._utils\n_rebuild_tensor_v3\n("
    return name + storage + integer(offset) + sizes(shape) + sizes(steps) + rest + b"tR"
