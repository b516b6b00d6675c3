"""Recorded runs: what is recorded, what is played, and that a change of weights is seen. No GPU is needed for that."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor

import boxwright as bw
from boxwright.errors import ConfigError
from boxwright.models.build import build_model
from boxwright.models.fast import recorded
from boxwright.models.fast.recorded import Recorder
from boxwright.models.frames import make_frames
from boxwright.types import Batch
from tests.models.small import small


class ReplayingRecords:
    """As CUDA graphs: the run works on the tensors it was recorded with, and writes over what it returned."""

    def __init__(self):
        self.made = self.played = 0

    def __call__(self, run):
        self.made += 1
        result = run()

        def play():
            self.played += 1
            for own, new in zip(tensors_in(result), tensors_in(run()), strict=True):
                own.copy_(new)

        return result, play


def tensors_in(value):
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for one in value.values() for t in tensors_in(one)]
    if isinstance(value, tuple | list):
        return [t for one in value for t in tensors_in(one)]
    return (
        [t for f in fields(value) for t in tensors_in(getattr(value, f.name))]
        if hasattr(value, "__match_args__")
        else []
    )


def model_and_recorder():
    torch.manual_seed(0)
    config = small("mask", "test.max_detections=4")
    model = build_model(config.model, config.test).eval()
    records = ReplayingRecords()
    return model, records, Recorder(model, record=records)


def batch_of(seed, *, width=96, sizes=((64, 80),)):
    images = torch.randn(len(sizes), 3, 64, width, generator=torch.Generator().manual_seed(seed))
    count = len(sizes)
    return Batch(images, list(sizes), [(128, 160)] * count, [(0.5, 0.5)] * count)


def played(model, recorder, batch):
    frames = make_frames(batch, pad_to=model.pad_to)
    return model.results(recorder(batch.images, frames), frames)


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for f in fields(one):
            if getattr(other, f.name) is not None:
                torch.testing.assert_close(getattr(one, f.name), getattr(other, f.name))


@torch.no_grad()
def test_a_shape_that_comes_again_is_played_with_the_new_images_and_sizes():
    model, records, recorder = model_and_recorder()
    for seed, sizes in ((1, ((64, 80),)), (2, ((64, 80),)), (3, ((50, 96),)), (4, ((64, 96),))):
        batch = batch_of(seed, sizes=sizes)
        assert_same(played(model, recorder, batch), model(batch))
    assert (records.made, records.played) == (1, 3)


@torch.no_grad()
def test_other_shapes_and_numbers_of_images_have_their_own_recordings(monkeypatch):
    monkeypatch.setattr(recorded, "MOST_SHAPES", 2)
    model, records, recorder = model_and_recorder()
    batches = batch_of(1), batch_of(1, width=128), batch_of(1, sizes=((64, 80),) * 2)
    for batch in (*batches[:2], *batches[:2]):
        assert_same(played(model, recorder, batch), model(batch))
    assert records.made == 2
    played(model, recorder, batches[2])  # takes the place of the first
    played(model, recorder, batches[1])
    assert records.made == 2
    played(model, recorder, batches[0])
    played(model, recorder, batches[0])
    assert records.made == 3


@torch.no_grad()
def test_changed_weights_are_read_and_replaced_ones_recorded_anew():
    model, records, recorder = model_and_recorder()
    batch = batch_of(1)
    played(model, recorder, batch)
    played(model, recorder, batch)
    model.box_head.score.bias += torch.linspace(-1, 1, len(model.box_head.score.bias))
    for _ in range(2):
        assert_same(played(model, recorder, batch), model(batch))
    assert records.made == 1
    model.box_head.score.bias = torch.nn.Parameter(model.box_head.score.bias.flip(0))
    for _ in range(2):
        assert_same(played(model, recorder, batch), model(batch))
    assert records.made == 2


def test_a_model_on_the_cpu_has_no_recordings():
    with pytest.raises(ConfigError, match=r"the model is on cpu; recordings are played on GPUs: take the device cuda"):
        bw.Detector(config=small("mask")).record()


def test_a_model_that_takes_its_proposals_from_the_caller_has_none():
    with pytest.raises(ConfigError, match="recordings need a model with proposals of its own"):
        bw.Detector(config=small("fast")).record()
