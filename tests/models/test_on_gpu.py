"""Whole models on a GPU: what the CPU computes, and nothing waits where nothing should."""

from contextlib import contextmanager

import pytest
import torch

from boxwright.config import training
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.training.learner import Learner
from boxwright.models.frames import make_frames
from tests.models.small import small
from tests.models.test_padded_training import PADDED_KINDS, batch_of, given, model_of, step

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
KINDS = sorted(set(PADDED_KINDS) - {"fast", "rpn_c4", "rpn_fpn", "retinanet", "retinanet_v2"})
GPU = torch.device("cuda")


@contextmanager
def without_waiting():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def exact_convolutions():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.mark.parametrize("kind", PADDED_KINDS)
def test_a_step_of_training_learns_what_it_does_on_the_cpu(kind):
    model = model_of(kind)
    losses, gradients = step(model, kind, "objects")
    model.to(GPU, memory_format=torch.channels_last)
    model.zero_grad()
    if kind.startswith("retinanet"):
        model.moving_average.fill_(100)
    for _ in range(2):  # the first compiles kernels, and asks for memory
        model.zero_grad()
        found = model.losses(batch_of(kind, "objects").to(GPU), seeds=torch.tensor([3, 8]), **given(kind))
        torch.stack(list(found.values())).sum().backward()
        if kind.startswith("retinanet"):
            break  # its moving average moves
    for name, loss in losses.items():
        torch.testing.assert_close(found[name].cpu(), loss, rtol=1e-3, atol=1e-4)
    own = {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}
    norms = [torch.nn.utils.get_total_norm(list(some.values())).item() for some in (own, gradients)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


@pytest.mark.parametrize("kind", sorted(set(PADDED_KINDS) - {"fast"}))  # no learner gives it proposals
def test_a_step_of_training_waits_for_nothing(kind):
    detector = Detector(config=small(kind), device=GPU, precision="bf16")
    learner = Learner(detector=detector, train=training.Train(batch=2, precision="bf16"), world=World())
    batch = batch_of(kind, "objects").to(GPU)
    learner.step([batch], 0)
    with without_waiting():
        launched = [learner.launch([batch], number) for number in (1, 2)]
    assert not any(learner.result(one).is_skipped for one in launched)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_detections_are_those_of_the_cpu_and_wait_once(kind):
    model = model_of(kind).eval()
    batch = batch_of(kind, "objects")
    expected = model(batch)
    model.to(GPU, memory_format=torch.channels_last)
    there = batch.to(GPU)
    found = model(there)
    frames = make_frames(there, pad_to=model.pad_to)
    with without_waiting():
        model.run(there.images, frames)
    for one, other in zip(found, expected, strict=True):
        assert one.labels.tolist() == other.labels.tolist()
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-3)
        if other.masks is not None:
            torch.testing.assert_close(one.masks, other.masks, rtol=1e-2, atol=1e-2)
