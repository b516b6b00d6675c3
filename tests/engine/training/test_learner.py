"""Parts of a run, batches that fit, means of weights, and what is said when memory ends."""

import pytest
import torch

from boxwright.config import training
from boxwright.engine.distributed import World
from boxwright.engine.training.batch_size import largest_batch, largest_size, largest_that_fits
from boxwright.engine.training.moving_mean import MovingMean
from boxwright.engine.training.stages import parts_of
from boxwright.engine.training.trouble import memory_error
from boxwright.errors import ConfigError
from boxwright.types import Batch
from tests.engine.conftest import tiny


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 100])
def test_the_largest_batch_that_fits_is_found(limit):
    tried = []

    def fits(count):
        tried.append(count)
        return count <= limit

    assert largest_that_fits(fits, most=64) == min(limit, 64)
    assert len(tried) <= 14


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ((), (64, 512)),
        (("model.input.resize.short_train=[64, 96]",), (96, 512)),
        (("data.aspect_grouping=false",), (512, 512)),
        (("data.augment.crop=[128, 160]", "data.augment.scale_jitter=[0.1, 2.0]"), (128, 160)),
    ],
)
def test_a_batch_is_tried_with_the_largest_images_of_training(changes, size):
    assert largest_size(tiny(*changes)) == size


def test_an_automatic_batch_needs_a_gpu():
    with pytest.raises(ConfigError, match=r"train\.batch=auto measures the memory of a GPU, and there is none"):
        largest_batch(tiny(), device=torch.device("cpu"), world=World())


def test_each_stage_goes_through_the_whole_schedule():
    schedule = training.Schedule(max_steps=100, decay=training.Steps(steps=[50]), warm_up=training.WarmUp(steps=0))
    parts = parts_of(training.Train(schedule=schedule, stages=[training.Stage(steps=10), training.Stage(steps=20)]))
    rates = [next(part for part in parts if step < part.end).rate(step, 1.0) for step in range(30)]
    assert rates == pytest.approx([1.0] * 5 + [0.1] * 5 + [1.0] * 10 + [0.1] * 10)


def test_the_mean_of_weights_is_put_in_and_taken_out_to_the_bit():
    model = torch.nn.Linear(1, 1, bias=False)
    mean = MovingMean(model, decay=0.5)
    own = model.weight.detach().clone()
    with torch.no_grad():
        model.weight += 4
    mean.update(follows=torch.tensor(True))  # in its first step it follows by 1 - 2/11
    with mean.applied():
        assert model.weight.item() == pytest.approx(own.item() + 4 * 9 / 11)
    assert torch.equal(model.weight, own + 4)


def test_out_of_memory_says_what_did_not_fit_and_what_to_change():
    batch = Batch(torch.zeros(2, 3, 64, 96), [(64, 96)] * 2, [(64, 96)] * 2, [(1.0, 1.0)] * 2)
    message = str(memory_error(RuntimeError("CUDA out of memory. Tried to allocate"), [batch], training.Train(batch=2)))
    assert message.startswith("out of memory with 2 images of 64 x 96 on this device (CUDA out of memory)")
    assert "Lower train.batch (2) and raise train.accumulate" in message
