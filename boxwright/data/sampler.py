"""The order of training: endless, the same whatever the number of workers, and resumable at the very next sample.

Ranks share one order, made from the seed: each global batch is cut into one part a rank. Every sample of the stream
has a serial number, from which its augmentation is seeded.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boxwright.errors import ConfigError

SampleKey = tuple[int, int]  # serial number in the stream, position in the data set


class TrainingSampler:
    """Endless batches of (serial, position) for one rank.

    An epoch is a permutation of the images; with `repeats` an image appears about that often in it, rounded at random
    so that the mean is right. With `groups` a batch holds images of one group only: an image waits until its group
    fills a batch, over the end of the epoch if need be, so none is lost and none is drawn twice.
    """

    def __init__(
        self,
        num_images: int,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        groups: NDArray[np.int64] | None = None,
        repeats: NDArray[np.float64] | None = None,
    ) -> None:
        if num_images < 1 or batch < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"cannot sample {num_images} images in batches of {batch} for rank {rank} of {world_size}"
            )
        self.num_images, self.batch, self.seed = num_images, batch, seed
        self.rank, self.world_size = rank, world_size
        self.groups, self.repeats = groups, repeats
        self.epoch, self._taken, self._serial = 0, 0, 0
        self._order = self._order_of(0)
        self._waiting: dict[int, list[SampleKey]] = {}

    @property
    def global_batch(self) -> int:
        """Images of one step over all ranks."""
        return self.batch * self.world_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        while True:
            yield self._next_batch()

    def _next_batch(self) -> list[SampleKey]:
        while True:
            key = self._next_key()
            group = 0 if self.groups is None else int(self.groups[key[1]])
            waiting = self._waiting.setdefault(group, [])
            waiting.append(key)
            if len(waiting) == self.global_batch:
                del self._waiting[group]
                return waiting[self.rank * self.batch : (self.rank + 1) * self.batch]

    def _next_key(self) -> SampleKey:
        while self._taken == len(self._order):
            self.epoch, self._taken = self.epoch + 1, 0
            self._order = self._order_of(self.epoch)
        key = (self._serial, int(self._order[self._taken]))
        self._taken += 1
        self._serial += 1
        return key

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, epoch))
        images = np.arange(self.num_images)
        if self.repeats is not None:
            whole = np.floor(self.repeats)
            times = whole + (rng.random(self.num_images) < self.repeats - whole)
            images = np.repeat(images, times.astype(np.int64))
        return rng.permutation(images)

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists. The same for every rank."""
        waiting = {str(group): [list(key) for key in keys] for group, keys in self._waiting.items()}
        return {
            "epoch": self.epoch,
            "taken": self._taken,
            "serial": self._serial,
            "waiting": waiting,
            "seed": self.seed,
            "num_images": self.num_images,
            "global_batch": self.global_batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on at the very next sample. Ranks may be fewer or more; data, seed and global batch must be the same."""
        for name in ("seed", "num_images", "global_batch"):
            if state[name] != getattr(self, name):
                raise ConfigError(
                    f"cannot resume the order of samples: {name} was {state[name]}, now {getattr(self, name)}"
                )
        self.epoch, self._taken, self._serial = state["epoch"], state["taken"], state["serial"]
        self._order = self._order_of(self.epoch)
        self._waiting = {
            int(group): [(int(serial), int(position)) for serial, position in keys]
            for group, keys in state["waiting"].items()
        }


class EvaluationSampler:
    """Each image once, in order, in batches; each rank has a run of neighbours, and none has a copy of another's."""

    def __init__(self, num_images: int, *, batch: int = 1, rank: int = 0, world_size: int = 1) -> None:
        bounds = np.linspace(0, num_images, world_size + 1).round().astype(int)
        self.positions = range(int(bounds[rank]), int(bounds[rank + 1]))
        self.batch = batch

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for begin in range(0, len(self.positions), self.batch):
            yield [(position, position) for position in self.positions[begin : begin + self.batch]]

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch)
