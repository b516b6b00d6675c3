"""The figures of a GPU's rows, made on the CPU: all but the memory, which only a card tells."""

import pytest
import torch
from torch import nn

from boxwright.engine.detector import Detector
from tests.models.small import small

pytest.importorskip("torchvision", reason="the benchmarks of models need torchvision")

from benchmarks import models
from benchmarks.models import CPU, FIELDS, GPU_FIELDS, measure
from benchmarks.peers import PEERS, Torchvision
from benchmarks.rows import GPU_ROWS, ROWS, Row

MEMORY = {"ours_mb", "peer_mb", "memory_ratio", "peer_same_mb", "memory_ratio_same"}
COMMON = {"date", "machine", "threads", "versions"}


class Peer(nn.Module):
    """Finds one box in each image, or has a loss; notes whether autocast was on."""

    def __init__(self):
        super().__init__()
        self.weight, self.was_autocast = nn.Parameter(torch.ones(())), []

    def forward(self, images, targets=None):
        self.was_autocast.append(torch.is_autocast_enabled("cpu"))
        if self.training:
            return {"loss": self.weight * len(targets), "other": self.weight * 2}
        return [{"boxes": torch.tensor([[1.0, 2, 3, 4]]), "labels": torch.tensor([1])} for _ in images]


@pytest.fixture
def peer(monkeypatch):
    """The peer of a small model of ours under the name "small"."""
    torch.manual_seed(0)
    made = Peer()
    detectors = lambda precision: Detector(config=small("mask"), precision=precision)  # noqa: E731
    monkeypatch.setitem(PEERS, "small", Torchvision(config="", build=Peer, size=(64, 96)))
    monkeypatch.setattr(models, "make", lambda peer, precision, device: (made, detectors(precision)))
    return made


@pytest.mark.parametrize("task", ["detection", "training"])
def test_a_row_for_gpus_fills_every_column(peer, task):
    found = measure(Row("small", task, "bf16", 2), CPU, fields=GPU_FIELDS, rounds=1, rate=1e11)
    missing = MEMORY | {"recorded_s"} | ({"equal"} if task == "training" else set())
    assert found.keys() == set(GPU_FIELDS) - COMMON - missing
    assert all(found[name] > 0 for name in ("ours_s", "network_s", "peer_s", "peer_same_s", "gigaflop"))
    assert (found["device"], found["size"]) == ("cpu", "64x96")
    assert peer.was_autocast.count(True) == {"detection": 2, "training": 3}[task]  # the first warms up


@pytest.mark.parametrize(
    ("precision", "fields", "timed"),
    [
        ("fp32", FIELDS, {"ours_s", "peer_s"}),
        ("bf16", FIELDS, {"ours_s", "peer_s"}),
        ("fp32", GPU_FIELDS, {"ours_s", "peer_s", "network_s"}),
        ("bf16", GPU_FIELDS, {"ours_s", "peer_s", "network_s", "peer_same_s"}),
    ],
)
def test_only_what_the_table_has_a_column_for_is_timed(peer, monkeypatch, precision, fields, timed):
    monkeypatch.setattr(models, "count_operations", lambda call: 1.0)
    monkeypatch.setattr(models, "ENOUGH", 0.0)  # the peer's boxes are not those of ours
    for sides in (models.detection, models.training):
        assert sides(Row("small", "", precision), CPU, fields).calls.keys() == timed


def test_detections_that_differ_fail_in_fp32(peer):
    with pytest.raises(AssertionError, match=r"^only 0\.00% of the detections are equal$"):
        measure(Row("small", "detection"), CPU, fields=GPU_FIELDS, rounds=1, rate=1e11)


@pytest.mark.parametrize("row", [*ROWS, *GPU_ROWS], ids=lambda row: row.name)
def test_every_row_has_a_peer(row):
    assert row.model in PEERS
    assert row.task == "detection" or isinstance(PEERS[row.model], Torchvision)
