"""Parameter groups: what decays, what learns faster, what does not learn."""

import pytest
from torch import nn

from boxwright.config import training
from boxwright.engine.training.optimizer import make_optimizer, parameter_groups, set_rate


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {"stem": nn.Conv2d(3, 4, 3, bias=False), "c2": nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))}
        )
        self.head = nn.Linear(4, 2)


def by_name(model: nn.Module, train: training.Train) -> dict[str, tuple[float, float]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, train)
        for p in group["params"]
    }


def test_norms_do_not_decay_and_biases_learn_twice_as_fast():
    found = by_name(Model(), training.Train(lr=0.5, weight_decay=0.1, bias_lr_factor=2, weight_decay_bias=0.0))
    assert found == {
        "backbone.stem.weight": (0.5, 0.1),
        "backbone.c2.0.weight": (0.5, 0.1),
        "backbone.c2.0.bias": (1.0, 0.0),
        "backbone.c2.1.weight": (0.5, 0.0),
        "backbone.c2.1.bias": (0.5, 0.0),
        "head.weight": (0.5, 0.1),
        "head.bias": (1.0, 0.0),
    }


def test_the_backbone_may_learn_slower():
    found = by_name(Model(), training.Train(lr=1.0, backbone_lr_factor=0.1))
    assert found["backbone.stem.weight"][0] == pytest.approx(0.1)
    assert found["head.weight"][0] == 1.0


def test_layers_near_the_input_learn_slowest():
    found = by_name(Model(), training.Train(lr=1.0, layer_decay=0.5))
    rates = [
        found[name][0]
        for name in ("backbone.stem.weight", "backbone.c2.0.weight", "backbone.c2.1.weight", "head.weight")
    ]
    assert rates == [0.125, 0.25, 0.5, 1.0]


def test_frozen_parameters_stay_out():
    model = Model()
    model.backbone.requires_grad_(False)
    assert set(by_name(model, training.Train())) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_schedule_sets_every_group_by_its_factor(kind):
    train = training.Train(
        lr=1.0, bias_lr_factor=2.0, optimizer=training.AdamW() if kind == "adamw" else training.Train().optimizer
    )
    optimizer = make_optimizer(Model(), train)
    set_rate(optimizer, 0.25)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.25, 0.5]
