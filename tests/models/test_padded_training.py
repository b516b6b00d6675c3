"""Training on a padded number of regions, for which no GPU has to wait, learns what training on the real ones does."""

import pytest
import torch

from boxwright.models.build import build_model
from boxwright.models.rcnn import RCNN
from boxwright.models.sampling import Draw
from boxwright.types import Batch
from tests.models.no_waiting import META, NoWaiting
from tests.models.small import KINDS, small, target

PADDED_KINDS = sorted(set(KINDS) - {"torchvision_v2"})  # its box head has statistics of batches
SCENES = {
    "objects": ([[4, 4, 40, 40], [30, 20, 70, 60], [5, 40, 20, 60]], [[10, 10, 50, 45]]),
    "an image without objects": ([[4, 4, 40, 40]], []),
    "no objects": ([], []),
}


def model_of(kind):
    torch.manual_seed(0)
    changes = ["model.box_head.features.dropout=0"] if kind == "vgg" else []
    config = small(kind, *changes)
    return build_model(config.model, config.test).train()


def batch_of(kind, scene):
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    sizes = [(64, 80), (50, 96)]
    targets = [target(boxes, [0] * len(boxes), size=size) for boxes, size in zip(SCENES[scene], sizes, strict=True)]
    return Batch(images, sizes, [(128, 160), (100, 192)], [(0.5, 0.5), (0.5, 0.5)], targets)


def given(kind):
    boxes = torch.tensor([[2.0, 3, 42, 40], [30, 22, 66, 60], [0, 0, 20, 20], [50, 1, 70, 30]])
    return {"proposals": [boxes, boxes[:2]]} if kind == "fast" else {}


def step(model, kind, scene):
    """Losses, and gradients by name."""
    model.zero_grad()
    if kind.startswith("retinanet"):
        model.moving_average.fill_(100)
    losses = model.losses(batch_of(kind, scene), seeds=torch.tensor([3, 8]), **given(kind))
    torch.stack(list(losses.values())).sum().backward()
    return losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def pad_everywhere(monkeypatch):
    pads = RCNN._pads
    monkeypatch.setattr(RCNN, "_pads", lambda model, device: pads(model, META))
    monkeypatch.setattr("boxwright.models.retinanet.Draw", lambda pads: Draw(pads=True))


@pytest.mark.parametrize("kind", PADDED_KINDS)
@pytest.mark.parametrize("scene", SCENES)
def test_the_same_is_learnt(kind, scene, monkeypatch):
    model = model_of(kind)
    losses, gradients = step(model, kind, scene)
    pad_everywhere(monkeypatch)
    padded, others = step(model, kind, scene)
    assert losses.keys() == padded.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(padded[name], loss, rtol=1e-4, atol=1e-6)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item() + 1e-7)


@pytest.mark.parametrize("kind", PADDED_KINDS)
@pytest.mark.parametrize("scene", ["objects", "no objects"])
def test_no_step_asks_for_data(kind, scene):
    model = model_of(kind).to(META)
    batch = batch_of(kind, scene).to(META)
    with NoWaiting():
        losses = model.losses(batch, seeds=torch.tensor([3, 8]), **given(kind))
        torch.stack(list(losses.values())).sum().backward()
