"""The detector: any list of pictures, any targets, any part of it alone."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from boxwright.config.presets import preset, preset_names
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load_weights, save
from boxwright.errors import ConfigError, DatasetError, ShapeError
from boxwright.models.build import build_model
from tests.models.small import KINDS, small, target

SIZE = (64, 80)
SOME = target([[10, 12, 50, 44], [30, 5, 70, 60]], [0, 0])
EMPTY = target([], [])
CROWD = target([[10, 12, 50, 44]], [0], crowds=(0,))
FLAT = target([[10, 12, 10, 44], [5, 5, 5, 5]], [0, 0])


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def made(kind, *changes):
    """Predictions of an untrained model are all alike; with larger last layers they are not."""
    torch.manual_seed(0)
    detector = Detector(config=small(kind, *changes))
    for name, parameter in detector.model.named_parameters():
        if name.endswith("score.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    return detector


def given(kind, count=1):
    boxes = torch.tensor([[5.0, 5, 40, 40], [20, 10, 70, 60], [0, 0, 79, 63]])
    return {"proposals": [boxes] * count} if kind == "fast" else {}


@pytest.fixture(scope="module")
def detectors():
    cache = {}

    def get(kind):
        if kind not in cache:
            cache[kind] = made(kind)
        return cache[kind]

    return get


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_can_be_built(name):
    config = preset(name)
    with torch.device("meta"):
        model = build_model(config.model, config.test)
    assert sum(parameter.numel() for parameter in model.parameters()) > 1e6


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_finds_and_learns(kind, detectors):
    detector = detectors(kind)
    found = detector(picture(), **given(kind))
    assert found.size == SIZE
    assert (found.boxes[:, 2] <= SIZE[1]).all()
    assert (found.boxes >= 0).all()
    losses = detector.losses([picture(), picture(1)], [SOME, EMPTY], **given(kind, 2))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    assert {name for name in losses if "rpn" in name} == (
        set() if kind == "fast" or "retinanet" in kind else {"loss_rpn_class", "loss_rpn_box"}
    )


@pytest.mark.parametrize(
    "targets", [[EMPTY, EMPTY], [CROWD, CROWD], [FLAT, FLAT], [SOME, EMPTY]], ids=["none", "crowd", "flat", "some"]
)
@pytest.mark.parametrize(
    "kind",
    [
        "mask",
        "keypoint",
        "cascade_mask",
        "mask_c4",
        "retinanet",
        "retinanet_v2",
        "torchvision_v2",
        "fast",
        "rpn_fpn",
        "deformable",
    ],
)
def test_every_learning_parameter_gets_a_finite_gradient(kind, targets, detectors):
    """Also from images without objects: distributed training waits for the gradient of each."""
    detector = detectors(kind)
    detector.model.zero_grad(set_to_none=True)
    losses = detector.losses([picture(), picture(1)], targets, **given(kind, 2))
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    learning = {name: p for name, p in detector.model.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == []
    assert [name for name, p in learning.items() if not p.grad.isfinite().all()] == []


def test_without_any_proposal_losses_are_finite_and_reach_every_parameter(detectors):
    detector = detectors("mask")
    detector.model.zero_grad(set_to_none=True)
    none = torch.zeros(0, 4)
    losses = detector.losses([picture(), picture(1)], [EMPTY, EMPTY], proposals=[none, none])
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in detector.model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert len(detector(picture(), proposals=[none])) == 0


def test_a_picture_of_a_list_has_the_result_it_has_alone(detectors):
    detector = detectors("mask_gn")
    pictures = [picture(i, size) for i, size in enumerate([(64, 80), (80, 64), (60, 78), (64, 80), (48, 96), (64, 81)])]
    together = detector(pictures)
    for one, found in zip(pictures, together, strict=True):
        alone = detector(one)
        assert len(alone) > 0
        assert_close(found.boxes, alone.boxes, rtol=0, atol=1e-5 * max(one.shape))  # a share of the picture
        assert_close(found.scores, alone.scores, rtol=0, atol=1e-5)
        assert found.labels.tolist() == alone.labels.tolist()
        assert (found.masks != alone.masks).float().mean() < 1e-4  # rounding moves a pixel that lies on the threshold


def test_an_empty_list_gives_an_empty_list(detectors):
    assert detectors("mask")([]) == []


def test_a_trace_has_every_stage_in_order(detectors):
    stages = detectors("mask").trace(picture())
    wanted = ["image", "features", "rpn logits", "rpn deltas", "anchors", "proposals", "pooled", "box scores"]
    assert list(stages) == [*wanted, "box deltas", "detections", "mask logits"]
    assert list(stages["features"]) == ["p2", "p3", "p4", "p5", "p6"]
    assert len(stages["mask logits"]) == len(stages["detections"])
    assert list(detectors("keypoint").trace(picture()))[-1] == "keypoint heatmaps"
    assert list(detectors("retinanet").trace(picture())) == [
        "image", "features", "box scores", "box deltas", "anchors", "detections",
    ]  # fmt: skip


def test_a_trace_finds_what_calling_finds(detectors):
    detector = detectors("cascade_mask")
    traced, found = detector.trace(picture())["detections"], detector(picture())
    assert_close(traced.boxes, found.boxes)
    assert_close(traced.scores, found.scores)


def test_the_first_examples_make_losses_repeatable(detectors):
    detector = detectors("mask")
    runs = [detector.losses([picture()], [SOME], sampling="first") for _ in range(2)]
    assert {name: value.item() for name, value in runs[0].items()} == {n: v.item() for n, v in runs[1].items()}


def test_a_generator_makes_random_losses_repeatable(detectors):
    detector = detectors("mask")
    runs = [detector.losses([picture()], [SOME], generator=torch.Generator().manual_seed(seed)) for seed in (1, 1)]
    assert {name: value.item() for name, value in runs[0].items()} == {n: v.item() for n, v in runs[1].items()}


def test_unfolded_norms_give_the_folded_losses(detectors):
    """Losses by "first" keep norms apart from their convolutions; only the rounding may differ."""
    detector = made("mask", "model.proposals.sampling.kind=all", "model.box_head.sampling.kind=all")
    apart = detector.losses([picture()], [SOME], sampling="first")
    folded = detector.losses([picture()], [SOME])
    for name, value in apart.items():
        assert_close(value, folded[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "part"), [("^backbone", "backbone"), (r"^rpn\.", "rpn"), ("mask_head", "mask_head")]
)
def test_frozen_parts_get_no_gradient_until_they_are_unfrozen(pattern, part):
    detector = made("mask")
    learning = {name for name, p in detector.model.named_parameters() if p.requires_grad}
    names = detector.freeze(pattern)
    assert names
    assert all(name.startswith(part) for name in names)
    losses = detector.losses([picture()], [SOME])
    sum(losses.values()).backward()
    with_gradient = {name for name, p in detector.model.named_parameters() if p.grad is not None}
    assert with_gradient == learning - set(names)
    assert detector.unfreeze(pattern) == names
    assert all(dict(detector.model.named_parameters())[name].requires_grad for name in names)


def test_a_pattern_that_fits_nothing_is_told_with_the_parts():
    with pytest.raises(ConfigError, match=r"no parameter fits 'neckk'; the model's parts are backbone, box_head"):
        made("faster").freeze("neckk")
    with pytest.raises(ConfigError, match="is no regular expression"):
        made("faster").freeze("(")


def test_proposals_learn_first_and_heads_on_them_afterwards():
    """The two stages of alternating training: each leaves the other's weights as they are."""
    detector = made("faster")
    before = {name: value.clone() for name, value in detector.model.state_dict().items()}

    def step(loss_names):
        chosen = [p for p in detector.model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(chosen, lr=0.01)
        losses = detector.losses([picture()], [SOME])
        sum(losses[name] for name in loss_names).backward()
        optimizer.step()
        optimizer.zero_grad()

    detector.freeze("^box_head")
    step(["loss_rpn_class", "loss_rpn_box"])
    changed = {n for n, v in detector.model.state_dict().items() if not torch.equal(v, before[n])}
    assert any(name.startswith("rpn.") for name in changed)
    assert not any(name.startswith("box_head.") for name in changed)
    middle = {name: value.clone() for name, value in detector.model.state_dict().items()}
    detector.unfreeze("^box_head")
    detector.freeze("^(backbone|neck|rpn)")
    step(["loss_class", "loss_box"])
    changed = {n for n, v in detector.model.state_dict().items() if not torch.equal(v, middle[n])}
    assert changed
    assert all(name.startswith("box_head.") for name in changed)


def test_a_part_is_saved_and_loaded_by_its_prefix(tmp_path):
    first, second = made("mask"), made("mask")
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.add_(1)
    save(first, tmp_path / "rpn.safetensors", prefix="rpn.")
    report = load_weights(second, tmp_path / "rpn.safetensors", prefix="rpn.")
    assert report.loaded
    assert all(name.startswith("rpn.") for name in report.loaded)
    ours, theirs = second.model.state_dict(), first.model.state_dict()
    same = {name for name in ours if torch.equal(ours[name], theirs[name])}
    assert {name for name in ours if name.startswith("rpn.")} <= same
    assert not any(name.startswith("box_head") for name in same)


def test_other_classes_take_all_layers_but_the_last(tmp_path):
    source = made("mask")
    save(source, tmp_path / "three.safetensors")
    other = made("mask", "model.num_classes=2", "model.class_names=[cat, dog]")
    report = load_weights(other, tmp_path / "three.safetensors")
    fitting = {"box_head.score.weight", "box_head.score.bias", "box_head.delta.weight", "box_head.delta.bias"}
    fitting |= {"mask_head.logits.weight", "mask_head.logits.bias"}
    assert {name for name, *_ in report.mismatched} == fitting
    ours, theirs = other.model.state_dict(), source.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name not in fitting)
    assert other.class_names == ("cat", "dog")


def test_mistakes_are_told():
    detector = made("mask")
    with pytest.raises(ShapeError, match="1 targets for 2 images"):
        detector.losses([picture(), picture()], [SOME])
    with pytest.raises(ShapeError, match="2 sets of proposals for 1 images"):
        detector(picture(), proposals=[torch.zeros(0, 4)] * 2)
    with pytest.raises(
        DatasetError, match=r"targets\[0\] \(image None\) has labels 7 to 7; the model has classes 0 to 2"
    ):
        detector.losses([picture()], [target([[1, 1, 9, 9]], [7])])
    with pytest.raises(ShapeError, match="this model takes its proposals from the caller"):
        made("fast")(picture())


def test_models_with_group_norm_run_in_plain_layout_on_the_cpu():
    assert made("mask_gn").memory_format == torch.contiguous_format
    assert made("mask").memory_format == torch.channels_last
    batch_norm = made("torchvision_v2")
    assert batch_norm.memory_format == torch.channels_last
    batch_norm.lay_out(training=True)
    assert batch_norm.memory_format == torch.contiguous_format
