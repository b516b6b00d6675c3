"""Checkpoints made to cost time or memory, to show memory that is not theirs, or to end the process.

Each is under 1 MB. The tables give by name what makes the bytes of one: READ for what reads weights, LOADED for what
builds a model by the settings inside a file.
"""

import pickle
import struct
from collections.abc import Callable

from tests.fuzz.checkpoints import tar_member, torch_zip
from tests.interop.files.pieces import (
    BIG,
    HIDDEN,
    KILO,
    MERSENNE,
    ONE,
    array,
    blob,
    chain,
    colliding_floats,
    colliding_integers,
    colliding_tuples,
    crowded_integers,
    doubled,
    dtype,
    entry,
    integer,
    legacy,
    loads,
    long_extras,
    named,
    nested_file,
    ours,
    overlapping_records,
    packed_zip,
    safetensors,
    sizes,
    storage_key,
    tar_of,
    tensor,
    text,
    text_opcode,
    twice,
    zip_of,
)

READ: dict[str, Callable[[], bytes]] = {
    # keys of one hash
    "integers of one hash": colliding_integers,
    "floats of one hash": colliding_floats,
    "integers of one place": crowded_integers,
    "tuples of one hash": colliding_tuples,
    "members of one hash": lambda: (
        b"\x80\x04\x8f(" + b"".join(integer(7 + MERSENNE * n) for n in range(60_000)) + b"\x90."
    ),
    "a set of one hash": lambda: (
        HIDDEN + b"c__builtin__\nset\n](" + b"".join(integer(7 + MERSENNE * n) for n in range(60_000)) + b"e\x85R."
    ),
    "memos of one hash": lambda: b"}" + b"".join(b"p%d\n" % (7 + MERSENNE * n) for n in range(40_000)) + b".",
    "memos of one place": lambda: (
        HIDDEN + b"}" + b"".join(b"r" + struct.pack("<I", n << 16) for n in range(65_536)) * 3 + b"."
    ),
    "two long equal keys": lambda: (
        HIDDEN
        + text("a" * 300_000)
        + b"q\x000"
        + text("a" * 300_000)
        + b"q\x010}Nq\x020("
        + b"h\x00h\x02h\x01h\x02" * 40_000
        + b"u."
    ),
    "long equal keys in turn": lambda: (
        HIDDEN
        + b"("
        + text("a" * 4_000)
        + b"q\x00"
        + text("a" * 4_000)
        + b"q\x01t0}("
        + b"h\x00Nh\x01N" * 35_000
        + b"u."
    ),
    # nested files
    "a file inside, read again and again": lambda: loads(nested_file(), 60_000),
    "a long file inside, read again and again": lambda: loads(nested_file(b"N0" * 3_000 + b"N."), 60_000),
    "many storages inside": lambda: loads(nested_file(b"](" + storage_key("0", 0) * 2_000 + b"e.", []), 20_000),
    "a file inside that claims much": lambda: loads(nested_file(storage_key("0", 10**9) + b".", ["0"]), 2),
    "a file inside that shows memory": lambda: loads(nested_file(storage_key("0", 16) + b"."), 1),
    "a file inside a file inside": lambda: loads(nested_file(loads(nested_file(), 3)[2:]), 3),
    "a file inside cut short": lambda: loads(nested_file()[:-9], 3),
    # tensors and storages
    "empty tensors": lambda: zip_of(
        HIDDEN
        + b"]("
        + tensor(storage_key("0", 0), (0,), (1,))
        + b"q\x00"
        + b"ctorch._utils\n_rebuild_tensor_v2\nq\x01("
        + storage_key("0", 0)
        + b"K\x00"
        + sizes((0,))
        + sizes((1,))
        + b"\x89Ntq\x02"
        + b"h\x01h\x02R" * 55_000
        + b"e.",
        **{"0": b""},
    ),
    "empty tensors of huge shapes": lambda: zip_of(
        named((f"w{n}", tensor(storage_key("0", 0), (2**62, 0, 2**62), (1, 1, 1))) for n in range(50)), **{"0": b""}
    ),
    "a tensor with many arguments": lambda: zip_of(
        HIDDEN
        + b"](ctorch._utils\n_rebuild_tensor_v2\nq\x01("
        + storage_key("0", 0)
        + b"K\x00"
        + sizes((0,))
        + sizes((1,))
        + b"\x89"
        + b"N" * 100_000
        + b"tq\x02"
        + b"h\x01h\x02R" * 20_000
        + b"e.",
        **{"0": b""},
    ),
    "a storage key with many parts": lambda: legacy(
        b"]("
        + b"("
        + text("storage")
        + b"ctorch\nFloatStorage\n"
        + text("0")
        + b"NK\x00"
        + b"N" * 100_000
        + b"tq\x01"
        + b"h\x01Q" * 20_000
        + b"e",
        {"0": b""},
    ),
    "a storage larger than its record": lambda: zip_of(
        named([("w", tensor(storage_key("0", 4_000), (4_000,), (1,)))]), **{"0": KILO}
    ),
    "a storage larger than its file": lambda: legacy(tensor(storage_key("0", 10**8), (10**8,), (1,)), {"0": KILO}),
    "many storages larger than their file": lambda: legacy(
        b"](" + b"".join(storage_key(str(n), 100_000) for n in range(2_000)) + b"e", {"0": BIG}
    ),
    "a storage that nothing fills": lambda: legacy(tensor(storage_key("1", 100), (100,), (1,)), {"0": KILO}),
    "a storage filled in part": lambda: legacy(tensor(storage_key("0", 250), (250,), (1,)), {"0": KILO})[:-8],
    "a storage filled twice": lambda: legacy(tensor(ONE, (1,), (1,)), {"0": b"1234"}),
    "a storage described in two ways": lambda: legacy(
        b"(" + storage_key("0", 4) + storage_key("0", 250) + b"t", {"0": KILO}
    ),
    "strides beyond a storage": lambda: zip_of(
        named([("w", tensor(storage_key("0", 250), (2, 2), (2**62, 2**62)))]), **{"0": KILO}
    ),
    "strides of nothing": lambda: zip_of(
        named([("w", tensor(storage_key("0", 250), (10**6, 10**6), (0, 0)))]), **{"0": KILO}
    ),
    "an offset beyond a storage": lambda: zip_of(
        named([("w", tensor(storage_key("0", 250), (1,), (1,), 250))]), **{"0": KILO}
    ),
    # views that unfold
    "one tensor under many names": lambda: zip_of(
        HIDDEN
        + tensor(storage_key("0", 200_000), (200_000,), (1,))
        + b"q\x000}("
        + b"".join(text(f"{n}") + b"h\x00" for n in range(15_000))
        + b"u.",
        **{"0": BIG},
    ),
    "turned arrays of one string": lambda: (
        HIDDEN
        + b"}("
        + b"".join(
            text(f"{n}")
            + array("f4", sizes((400, 250)), (blob(400_000) + b"q\x00" if n == 0 else b"h\x00")).replace(
                b"\x89", b"\x88"
            )
            for n in range(2_000)
        )
        + b"u."
    ),
    "array scalars of one string": lambda: (
        HIDDEN
        + b"cnumpy.core.multiarray\nscalar\nq\x00("
        + dtype("S99999", "|")
        + blob(99_999)
        + b"tq\x01]("
        + b"h\x00h\x01R" * 45_000
        + b"e."
    ),
    "array scalars of nothing": lambda: (
        HIDDEN
        + b"cnumpy.core.multiarray\nscalar\nq\x00("
        + dtype("U99999")
        + b"tq\x01]("
        + b"h\x00h\x01R" * 45_000
        + b"e."
    ),
    "arrays of text": lambda: HIDDEN + b"}" + text("w") + array("U2", sizes((1,)), b"C\x08" + b"\xff" * 8) + b"s.",
    "arrays of objects": lambda: HIDDEN + b"}" + text("w") + array("O8", sizes((1,)), b"C\x08" + b"\xff" * 8) + b"s.",
    "an array of no bytes and a huge shape": lambda: (
        HIDDEN + b"}" + text("w") + array("f4", sizes((2**62, 0)), b"C\0") + b"s."
    ),
    "one class name for all": lambda: zip_of(
        HIDDEN
        + b"}"
        + text("meta")
        + b"}"
        + text("CLASSES")
        + b"]("
        + text("a" * 500_000)
        + b"q\x00"
        + b"h\x00" * 80_000
        + b"ess."
    ),
    # depth, sharing, cycles
    "dicts that double": lambda: (
        HIDDEN + b"}q\x00" + (b"}(" + text("a") + b"h\x00" + text("b") + b"h\x00uq\x00") * 60 + b"."
    ),
    "a chain that begins at its end": lambda: chain(20_000),
    "prefixes without end": lambda: safetensors(
        {"module." * 70 + f"w{n}": entry("F32", [0], 0, 0) for n in range(1_500)}
    ),
    "a persistent key that doubles": lambda: zip_of(HIDDEN + doubled() + b"Q."),
    "an old key that doubles": lambda: tar_of(pickled=HIDDEN + doubled() + b"Q."),
    "arguments that double": lambda: HIDDEN + b"ctorch._utils\n_rebuild_tensor_v2\n" + doubled() + b"R.",
    "an array whose parts double": lambda: HIDDEN + array("f4", doubled(), doubled()) + b".",
    "a state that doubles": lambda: HIDDEN + b"cargparse\nNamespace\n)\x81" + doubled() + b"b.",
    # names
    "a long name again and again": lambda: (
        b"\x80\x04"
        + text("mmengine.logging.history_buffer")
        + b"q\x00"
        + text("HistoryBuffer." + "a" * 400_000)
        + b"q\x01]("
        + b"h\x00h\x01\x93" * 55_000
        + b"e."
    ),
    "half a pair in a name": lambda: (
        b"}" + text_opcode(b"backbone.\\ud800") + array("f4", b"(K\x01t", b"C\x04abcd") + b"s."
    ),
    "an escape in a name": lambda: HIDDEN + b"}" + text("a\x1b[2J") + array("f4", b"(K\x01t", b"C\x04abcd") + b"s.",
    "a name of 700 kB": lambda: safetensors({"a" * 700_000: entry("F32", [0], 0, 0)}),
    "an error of 100,000 words": lambda: HIDDEN + b"ctorch\nSize\n(" + b"N" * 140_000 + b"tR.",
    "a class of a long name": lambda: b"c" + b"a" * 900 + b"\n" + b"\x1b[31m" * 100 + b"\n.",
    # numbers
    "long decimals": lambda: b"]" + (b"I" + b"9" * 990 + b"\na") * 1_000 + b".",
    "a long decimal": lambda: b"]I" + b"9" * 900_000 + b"\na.",
    "a huge float": lambda: b"]F1e999\naF-infinity\naFnan\na.",
    "complex numbers": lambda: HIDDEN + b"c__builtin__\ncomplex\n" + integer(2**500) + integer(-(2**500)) + b"\x86R.",
    # zip
    "records that overlap": overlapping_records,
    "extra fields of nothing": long_extras,
    "a record of zeros": lambda: packed_zip(
        named([("w", tensor(storage_key("0", 10**7), (10**7,), (1,)))]), **{"0": b"\0" * 4 * 10**7}
    ),
    "a packed pickle of many steps": lambda: packed_zip(HIDDEN + b"N0" * 5_000_000 + b"N."),
    "a packed pickle of one text": lambda: packed_zip(HIDDEN + text("a" * 30_000_000) + b"."),
    "a packed pickle of texts": lambda: packed_zip(HIDDEN + b"](" + text("\U0001f600" + "a" * 4_000) * 3_000 + b"e."),
    "a zip of no records": lambda: b"PK\x03\x04" + b"PK\x05\x06" + struct.pack("<4xHHIIH", 0, 0, 0, 0, 0),
    "a zip of 65,535 claimed records": lambda: (
        b"PK\x03\x04" + b"PK\x05\x06" + struct.pack("<4xHHIIH", 65_535, 65_535, 4, 0, 0)
    ),
    "two records of one name": lambda: twice(torch_zip()),
    # tar
    "a tar of many pickles": lambda: tar_of(storages=pickle.dumps(900_000, 2) + b"N." * 300_000),
    "tar storages of one hash": lambda: tar_of(
        storages=pickle.dumps(9_000, 2)
        + b"".join(
            HIDDEN + b"(" + integer(7 + MERSENNE * n) + b"Nctorch\nFloatStorage\nt." + bytes(8) for n in range(9_000)
        )
        + pickle.dumps([], 2)
    ),
    "tar views of one hash": lambda: tar_of(
        storages=pickle.dumps(1, 2)
        + HIDDEN
        + b"(K\x01Nctorch\nFloatStorage\nt."
        + bytes(8)
        + HIDDEN
        + b"]("
        + b"".join(b"(" + integer(7 + MERSENNE * n) + b"K\x01K\x00K\x00t" for n in range(30_000))
        + b"e."
    ),
    "a tar of many steps": lambda: tar_of(storages=pickle.dumps(300, 2) + (b"N0" * 1_500 + b"N.") * 300),
    "a tar member of a negative size": lambda: tar_member("pickle", b"").replace(b"00000000000", b"-0000000001"),
    "a tar storage of 2**62 numbers": lambda: tar_of(
        storages=pickle.dumps(1, 2) + HIDDEN + b"(K\x01Nctorch\nFloatStorage\nt." + struct.pack("<q", 2**62)
    ),
    "a tar tensor beyond its view": lambda: tar_of(
        storages=pickle.dumps(1, 2)
        + HIDDEN
        + b"(K\x01Nctorch\nFloatStorage\nt."
        + struct.pack("<q", 2)
        + b"12345678"
        + pickle.dumps([(2, 1, 1, 1)], 2),
        tensors=pickle.dumps(1, 2)
        + HIDDEN
        + b"(K\x03K\x02ctorch\nFloatTensor\nt."
        + struct.pack("<iiqqq", 1, 0, 2, 1, 0),
        pickled=HIDDEN + b"}" + text("a") + b"K\x03Qs.",
    ),
    # safetensors
    "a header of lists": lambda: safetensors(b'{"a":' + b"[" * 400_000 + b"]" * 400_000 + b"}"),
    "a header of empty lists": lambda: safetensors(b'{"a":[' + b"[]," * 300_000 + b"[]]}"),
    "a header of long numbers": lambda: safetensors(b'{"a":' + b"9" * 900_000 + b"}"),
    "a header of one name": lambda: safetensors(b"{" + b'"a":{},' * 100_000 + b'"a":{}}'),
    "a header of half pairs": lambda: safetensors(b'{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
    "a header of empty tensors": lambda: safetensors({str(n): entry("F32", [0], 0, 0) for n in range(15_000)}),
    "a header of huge empty tensors": lambda: safetensors({"a": entry("F32", [2**62, 0, 2**62], 0, 0)}),
    "a header of many dimensions": lambda: safetensors({"a": entry("F32", [1] * 100_000, 0, 4)}, b"abcd"),
    "a header with a hole": lambda: safetensors({"a": entry("F32", [1], 4, 8)}, b"12345678"),
    "a header that overlaps": lambda: safetensors(
        {str(n): entry("U8", [800_000], 0, 800_000) for n in range(1_000)}, BIG
    ),
    "a header that ends early": lambda: safetensors({"a": entry("F32", [1], 0, 4)}, b"12345678"),
    "a header of numbers as text": lambda: safetensors(
        {"__metadata__": {"a": 1}, "a": entry("F32", [1], 0, 4)}, b"1234"
    ),
    "class names of half pairs": lambda: safetensors({"__metadata__": {"boxwright.class_names": '["\\ud800"]'}}),
    # weights of no model
    "names of many layers": lambda: safetensors(
        {f"backbone.body.layer1.{n}.conv1.weight": entry("F32", [0], 0, 0) for n in range(4_900)}
    ),
    "names of many blocks": lambda: safetensors(
        {f"bbox_head.fcs.{n}.weight": entry("F32", [0], 0, 0) for n in range(4_900)}
        | {"backbone.conv1.weight": entry("F32", [0], 0, 0)}
    ),
    "blobs of many names": lambda: safetensors({f"res2_{n}_branch2a_w": entry("F32", [0], 0, 0) for n in range(4_900)}),
    "unknown blobs": lambda: safetensors(
        {f"conv1_w{'x' * (n % 50)}{n}": entry("F32", [0], 0, 0) for n in range(4_900)}
        | {"conv1_w": entry("F32", [0], 0, 0)}
    ),
}


LOADED: dict[str, Callable[[], bytes]] = {
    "a million classes": lambda: ours("model.num_classes=1000000"),
    "a million classes of masks": lambda: ours("model.num_classes=1000000", "model.box_head.features.fcs=[1]"),
    "wide layers": lambda: ours("model.box_head.features.fcs=[1000000]"),
    "wide levels": lambda: ours("model.neck.channels=100000"),
    "huge regions": lambda: ours("model.box_head.pooling.size=10000"),
    "many anchors": lambda: ours("model.anchors.sizes=" + str([list(range(1, 600))] * 5)),
    "many layers": lambda: ours("model.box_head.features.fcs=" + str([1] * 4_200)),
    "wide groups": lambda: ours("model.backbone.groups=100", "model.backbone.width_per_group=10000"),
    "huge kernels": lambda: ours("model.keypoint_head.kernel=100000", base="keypoint_rcnn_r50_fpn"),
    "a billion keypoints": lambda: ours("model.keypoint_head.num_keypoints=1000000000", base="keypoint_rcnn_r50_fpn"),
    "wide convolutions": lambda: ours("model.convs=[100000, 100000]", base="retinanet_r50_fpn"),
    "odd groups": lambda: ours("model.backbone.groups=7", "model.backbone.depth=18"),
    "negative channels": lambda: ours("model.proposals.conv_channels=[-7]", "model.backbone.depth=18"),
    "no weights at all": lambda: ours(),
}
