"""The recordings in `data/`: what an original program gave for fixed pictures and weights."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.fill import fill_all

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Recording:
    file: Path

    @property
    def program(self) -> str:
        return self.file.stem.partition("__")[0]

    @property
    def name(self) -> str:
        return self.file.stem.partition("__")[2]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.file) as file:
            return {name: file[name] for name in file.files}

    @cached_property
    def meta(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.arrays["meta"].tobytes())
        return content

    def shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name and shape of each weight, in the original's names and order."""
        return [(name, tuple(shape)) for name, shape, _ in self.meta["state_dict"]]

    def state(self) -> dict[str, torch.Tensor]:
        """The weights in the original's names."""
        meta = self.meta
        arrays = fill_all(self.shapes(), meta["seed"], meta["fill_overrides"], meta["fill_keep"])
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def samples(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Flat positions in a tensor of the first picture, and its values there."""
        positions, values = self.arrays[f"img0/{name}@idx"], self.arrays[f"img0/{name}@val"]
        return torch.from_numpy(positions.astype(np.int64)), torch.from_numpy(values)

    def sampled(self) -> list[str]:
        """The tensors of the first picture that have samples, in the order of the forward pass."""
        return [name[5:-4] for name in self.arrays if name.startswith("img0/") and name.endswith("@val")]


def recordings() -> list[Recording]:
    return [Recording(file) for file in sorted(DATA.glob("*.npz"))]


def recording(name: str) -> Recording:
    """One by the end of its file's name, such as "mask_rcnn_R_50_FPN_3x"."""
    found = [entry for entry in recordings() if entry.file.stem.endswith(name)]
    if len(found) != 1:
        raise LookupError(f"{len(found)} recordings end in {name!r}")
    return found[0]
