"""Checkpoints that hold settings, and what opening one as a model may do. The long run is

    python -m tests.fuzz.checkpoint_configs --minutes 10

Whatever the settings and the weights are, there is a model or one of our errors.
"""

import io
import json
import random
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from boxwright.config import dump
from boxwright.config.load import dump_plain
from boxwright.config.yaml_text import write_yaml
from boxwright.engine.loading import load, save
from boxwright.errors import LONGEST, BoxwrightError, escaped
from boxwright.interop.detectron2.weights import to_detectron2
from tests.compat.tiny import tiny_config, tiny_detector
from tests.fuzz import configs
from tests.fuzz.long_run import LongRun, Read


@cache
def ours() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(tiny_detector(), Path(folder) / "weights")
        return (Path(folder) / "weights").read_bytes()


def with_settings(text: str, names: object = ("cat", "dog", "bird")) -> bytes:
    """Our own file with other settings in its header."""
    data = ours()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] |= {"boxwright.config": text, "boxwright.class_names": json.dumps(names)}
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + data[8 + length :]


@cache
def foreign() -> dict[str, torch.Tensor]:
    return to_detectron2(tiny_detector().model.state_dict())


def with_meta(text: str) -> bytes:
    """A checkpoint as mmdetection saves it."""
    buffer = io.BytesIO()
    state = foreign()
    torch.save({"state_dict": state, "meta": {"cfg": text, "CLASSES": ("cat", "dog", "bird")}}, buffer)
    return buffer.getvalue()


OURS = dump(tiny_config())
TEXTS = [OURS, *configs.SEEDS.values()]


def feed(data: bytes, path: Path, read: Read = load) -> bool:
    """Whether `data` opens as a model. Every error but ours comes through."""
    path.write_bytes(data)
    try:
        read(path)
    except BoxwrightError as error:
        if isinstance(error.__cause__, NameError | AssertionError):
            raise  # a mistake of ours that the last net caught
        check_words(str(error))
        return False
    return True


def check_words(message: str) -> None:
    """An error is one line, or a list of mistakes with a line for each, and does nothing to a terminal."""
    assert escaped(message) == message
    for line in message.split("\n  "):
        assert len(line) <= LONGEST
        assert "\n" not in line


ODD = (
    -1,
    0,
    1,
    2,
    3,
    7,
    64,
    10**4,
    10**6,
    2**31,
    10**30,
    0.5,
    -0.0,
    1e-300,
    1e300,
    None,
    True,
    "",
    "p9",
    [],
    [0],
    [[]],
    {},
)


def with_one_value_changed(chance: random.Random) -> str:
    """Our settings, in which one value, or the values of one list, are others of the same or of any kind."""
    content: Any = dump_plain(tiny_config())
    here: Any = content
    while True:
        place = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        if not (isinstance(here[place], dict | list) and here[place]) or chance.random() < 0.1:
            break
        here = here[place]
    old = here[place]
    same = [value for value in ODD if type(value) is type(old)]
    here[place] = (
        old * chance.randint(2, 300)
        if isinstance(old, list) and chance.random() < 0.5
        else chance.choice(same + list(ODD))
    )
    return write_yaml(content)


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    match chance.randrange(5):
        case 0:
            data = bytearray(seeds[0])
            for _ in range(chance.randint(1, 3)):
                data[chance.randrange(8 + int.from_bytes(data[:8], "little"))] = chance.randrange(32, 127)
            return bytes(data)
        case 1 | 2:
            return with_settings(with_one_value_changed(chance))
    text = chance.choice(TEXTS)
    make = with_settings if text is OURS else with_meta
    return make(configs.mutate(text, chance).encode("utf-8", "replace").decode())


if __name__ == "__main__":
    LongRun(
        seeds=[ours(), *(with_meta(text) for text in configs.SEEDS.values())],
        changed=changed,
        feed=feed,
        module="boxwright.engine.loading",
        reader="load",
        failure="fuzz-failure.safetensors",
    ).main(__doc__)
