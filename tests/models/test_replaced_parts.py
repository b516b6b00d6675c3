"""A part of a model that is replaced is the part that is called, that learns, and that is saved."""

import pytest
import torch
from torch import nn

import boxwright as bw
from boxwright.engine.detector import Detector
from boxwright.errors import ConfigError
from boxwright.models.box_head import BoxPrediction
from tests.models.small import small, target

PICTURE = torch.randint(0, 255, (64, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()


class Counting(nn.Module):
    """What was there before, with a weight of its own, counting its calls."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.calls, self.scale = inner, 0, nn.Parameter(torch.ones(()))

    def forward(self, *args):
        self.calls += 1
        return self.scaled(self.inner(*args))

    def scaled(self, value):
        match value:
            case BoxPrediction():
                return BoxPrediction(value.logits * self.scale, value.deltas * self.scale, value.region_map)
            case dict():
                return {name: one * self.scale for name, one in value.items()}
            case tuple() | list():
                return type(value)(self.scaled(one) for one in value)
        return value * self.scale


def replaced(model, path):
    *above, name = path.split(".")
    owner = model.get_submodule(".".join(above))
    part = Counting(owner.get_submodule(name))
    setattr(owner, name, part)
    return part


PARTS = [
    *(("mask", part) for part in ("backbone", "neck", "rpn", "rpn.head", "box_head", "mask_head", "mask_head.convs.0")),
    *(("cascade_mask", part) for part in ("box_stages.0", "box_stages.2", "mask_head")),
    ("keypoint", "keypoint_head"),
    *(("retinanet", part) for part in ("backbone", "neck", "head")),
]
WITHOUT_RPN = [(kind, part) for kind, part in PARTS if part != "rpn"]  # which more than its call is asked of


@pytest.mark.parametrize(("kind", "part"), WITHOUT_RPN)
def test_another_module_in_its_place_is_called_and_learns(kind, part):
    torch.manual_seed(0)
    detector = Detector(config=small(kind))
    mine = replaced(detector.model, part)
    objects = target([[4, 4, 40, 40], [20, 10, 70, 60]], [0, 0])
    sum(detector.losses([PICTURE], [objects]).values()).backward()
    assert mine.calls > 0
    assert mine.scale.grad is not None
    assert f"{part}.scale" in detector.model.state_dict()
    mine.calls = 0
    detector(PICTURE)
    assert mine.calls > 0


@pytest.mark.parametrize("kind", ["mask", "cascade_mask", "mask_c4", "keypoint", "retinanet", "fast"])
def test_no_module_is_held_twice(kind):
    model = Detector(config=small(kind)).model
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    assert len(names) == len({id(module) for _, module in model.named_modules(remove_duplicate=False)})


def test_a_head_of_more_classes_learns_and_detects():
    torch.manual_seed(0)
    detector = Detector(config=small("faster"))
    old = detector.model.box_head
    before = detector.trace(PICTURE)["box scores"]
    detector.model.box_head.score = nn.Linear(old.score.in_features, old.score.out_features)
    assert not torch.equal(detector.trace(PICTURE)["box scores"], before)


# --- settings


def test_a_detector_with_other_settings_shares_the_weights():
    torch.manual_seed(0)
    detector = Detector(config=small("mask"))
    other = detector.with_settings("test.max_detections=2", "test.mask_threshold=0.25")
    assert len(detector(PICTURE)) == 5
    assert len(other(PICTURE)) == 2
    assert detector.config.test.max_detections == 5
    assert other.config.test.mask_threshold == 0.25
    with torch.no_grad():
        detector.model.box_head.score.bias.zero_()
    assert other.model.box_head.score.bias.abs().sum() == 0
    assert torch.equal(other(PICTURE).scores, detector(PICTURE).scores[:2])


def test_of_retinanet_too():
    torch.manual_seed(0)
    detector = Detector(config=small("retinanet", "test.score_threshold=0")).with_settings("test.max_detections=60")
    torch.manual_seed(0)
    expected = Detector(config=small("retinanet", "test.score_threshold=0", "test.max_detections=60"))
    assert torch.equal(detector(PICTURE).boxes, expected(PICTURE).boxes)


@pytest.mark.parametrize("change", ["model.num_classes=4", "train.lr=1"])
def test_what_the_model_is_built_from_cannot_be_changed_afterwards(change):
    detector = Detector(config=small("mask"))
    with pytest.raises(ConfigError, match="with_settings changes settings under test"):
        detector.with_settings(change)


def test_the_settings_of_a_detector_cannot_be_put_in_another_ones_place():
    detector = Detector(config=small("mask"))
    with pytest.raises(AttributeError):
        detector.config = bw.load_config("retinanet_r50_fpn")
