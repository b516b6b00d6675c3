"""Settings never change in place, not even their lists; `with_` gives others, checked; nothing is without bound."""

import copy
import pickle

import pytest

from boxwright.config import Config, Conventions, dump, json_schema, load_config, parse_config, parts, preset, training
from boxwright.config.presets import preset_names
from boxwright.config.settings import Settings
from boxwright.config.table import Table
from boxwright.errors import ConfigError

TRANSFORMS = "data.augment.albumentations=[{Affine: {scale: {x: [0.8, 1.2], y: 1}, p: 0.3}}]"


def example() -> Config:
    return preset("faster_rcnn_r50_fpn").with_(TRANSFORMS, "train.stages=[{steps: 5}]")


def assign(path: str, value: object):
    def attempt(config: Config) -> None:
        *parents, name = path.split(".")
        for parent in parents:
            config = getattr(config, parent)
        setattr(config, name, value)

    return attempt


ATTEMPTS = {
    "a number of shared conventions": assign("model.conventions.box_offset", 1),
    "a part": assign("model.backbone", parts.VGG16()),
    "a number of a default": assign("train.schedule.warm_up.steps", 5),
    "a whole section": assign("train", training.Train(lr=5)),
    "a name that is none": assign("train.rate", 5),
    "a deletion": lambda config: delattr(config.model.conventions, "box_offset"),
    "an appended class": lambda config: config.model.class_names.append("x"),
    "an entry of a list": lambda config: config.train.schedule.decay.steps.__setitem__(0, 5),
    "an entry of a list in a list": lambda config: config.model.anchors.sizes[0].__setitem__(0, 5),
    "a list made longer": lambda config: config.model.input.resize.__setattr__("short_train", (1, 2)),
    "a setting in a list": lambda config: config.train.stages[0].__setattr__("steps", 6),
    "a free-form value": lambda config: config.data.augment.albumentations[0]["Affine"].__setitem__("p", 1),
    "a free-form value further in": lambda config: config.data.augment.albumentations[0]["Affine"]["scale"].clear(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_no_attempt_to_change_one_preset_changes_it_or_any_other(attempt):
    before = [preset(name).model_dump_json() for name in preset_names()]
    config = example()
    with pytest.raises((ConfigError, AttributeError, TypeError)):
        attempt(config)
    assert config == example()
    assert [preset(name).model_dump_json() for name in preset_names()] == before


def values_in(value: object):
    yield value
    if isinstance(value, Settings):
        inner = [part for _, part in value]
    else:
        inner = value.values() if isinstance(value, Table) else value if isinstance(value, tuple) else ()
    for part in inner:
        yield from values_in(part)


@pytest.mark.parametrize("name", ["example", *preset_names()])
def test_there_is_nothing_in_settings_that_could_be_changed_in_place(name):
    config = example() if name == "example" else preset(name)
    assert {type(value) for value in values_in(config) if not isinstance(value, Settings)} <= {
        *(type(None), bool, int, float, str, tuple, Table)
    }
    assert hash(config) == hash(copy.deepcopy(config))


def test_an_assignment_says_how_to_change_settings():
    config = example()
    with pytest.raises(ConfigError) as caught:
        config.model.conventions.box_offset = 1
    assert str(caught.value) == (
        "Conventions.box_offset cannot be changed in place: settings are frozen; with_(box_offset=...) returns others, "
        "and config.with_('dotted.path=value') a whole config"
    )


def test_settings_are_copied_and_sent_to_processes_whole():
    config = example()
    assert pickle.loads(pickle.dumps(config)) == copy.copy(config) == config


def test_with_gives_others_and_leaves_these_as_they_are():
    config = preset("mask_rcnn_r50_fpn")
    other = config.with_("train.lr=0.5", "model.mask_head=null", train=config.train.with_(seed=7))
    assert (other.train.lr, other.train.seed, other.model.mask_head) == (0.02, 7, None)
    assert config == preset("mask_rcnn_r50_fpn")


def test_every_section_can_be_changed_by_itself():
    assert Conventions().with_(box_offset=1) == Conventions(box_offset=1)
    assert parts.Resize().with_("short_train=[600, 800]", short_train_mode="range").short_train == (600, 800)
    head = parts.BoxHead().with_("features.fcs.1=7", "pooling.size=3", cascade=())
    assert (head.features.fcs, head.pooling) == ((1024, 7), parts.Pooling(size=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: Conventions().with_(box_offset=2), "Conventions: box_offset: got 2; expected 0 or 1"),
        (
            lambda: Conventions().with_(box_ofset=1),
            "Conventions: box_ofset: no such setting (value 1); did you mean box_offset?",
        ),
        (
            lambda: parts.Resize().with_(short_train_mode="range"),
            "Resize: short_train is [800]; with short_train_mode range give [lowest, highest]",
        ),
        (
            lambda: (model := preset("retinanet_r50_fpn").model).with_(
                class_names=["a"], num_classes=model.num_classes
            ),
            "RetinaNet: class_names has 1 names for num_classes 80",
        ),
        (
            lambda: training.Augment().with_("scale_jitter=[0.5, 1]"),
            "overrides: scale_jitter needs crop: the size that its scales are relative to",
        ),
        (lambda: example().with_("train.²=1"), "overrides: train.²: no such setting (value 1); there are batch, "),
        (
            lambda: example().with_("train.stages.²=1"),
            "override 'train.stages.²=1': train.stages is a list of 1; give an index below that",
        ),
    ],
)
def test_changes_are_checked_with_all_that_stays(change, message):
    with pytest.raises(ConfigError) as caught:
        change()
    assert str(caught.value).startswith(message)


def test_class_names_are_kept_as_they_are():
    names = ("pipe 1/2\" (5' long)", "back\\slash", "tab\tline\nend", "line\u2028separator")
    config = preset("faster_rcnn_r50_fpn")
    config = config.with_(model=config.model.with_(num_classes=4, class_names=names))
    assert config.model.class_names == names
    assert parse_config(dump(config), where="dumped") == config


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.num_classes=1000000", "model.num_classes: got 1000000; expected less than or equal to 20000"),
        (
            f"model.num_classes=0x{'f' * 5000}",
            f"model.num_classes: got '0x{'f' * 54}...; expected integer, unable to parse string as an integer",
        ),
        ("model.neck.channels=20000", "model.neck.channels: got 20000; expected less than or equal to 16384"),
        (
            f"model.box_head.features.convs={[1] * 65}",
            "model.box_head.features.convs: has 65 entries; expected at most 64",
        ),
        (
            "model.proposals.conv_channels=[-1, 20000]",
            "model.proposals.conv_channels.1: got 20000; expected less than or equal to 16384 or -1",
        ),
        (f"model.anchors.sizes=[{[1] * 65}]", "model.anchors.sizes.0: has 65 entries; expected at most 64"),
        (
            "model.input.resize.short_test=40000",
            "model.input.resize.short_test: got 40000; expected less than or equal to 32768",
        ),
        ("model.input.pad_to=10000", "model.input.pad_to: got 10000; expected less than or equal to 4096"),
        (
            "model.keypoint_head.num_keypoints=2000",
            "model.keypoint_head.num_keypoints: got 2000; expected less than or equal to 1024",
        ),
        (
            "model.proposals.pre_nms_top_k.test=1000001",
            "model.proposals.pre_nms_top_k.test: got 1000001; expected less than or equal to 1000000",
        ),
        (
            "model.backbone={kind: resnet, groups: 64, width_per_group: 65}",
            "model.backbone: groups x width_per_group is 4160; the widest may have 4096 (32x48d has 1536)",
        ),
        ("train.lr=2000000.5", "train.lr: got 2000000.5; expected less than or equal to 1000000"),
        (f"train.weights={'x' * 5000}", f"train.weights: got '{'x' * 56}...; expected at most 4096 characters"),
        (f"model.class_names={['x'] * 20001}", "model.class_names: has 20001 entries; expected at most 20000"),
        ("model.class_names=cat", "model.class_names: got 'cat'; expected list"),
    ],
)
def test_no_setting_asks_for_absurd_memory(text, message):
    with pytest.raises(ConfigError) as caught:
        preset("mask_rcnn_r50_fpn").with_(text)
    assert str(caught.value) == f"overrides: {message}"


def test_every_number_list_and_text_has_a_ceiling():
    ceilings = {
        "integer": {"maximum", "exclusiveMaximum", "enum", "const"},
        "number": {"maximum", "exclusiveMaximum"},
        "array": {"maxItems"},
        "string": {"maxLength", "enum", "const"},
    }

    def without(node, path):
        if isinstance(node, dict):
            if node.get("type") in ceilings and not ceilings[node["type"]] & node.keys():
                yield path
            for key, part in node.items():
                yield from without(part, f"{path}.{key}")
        elif isinstance(node, list):
            for part in node:
                yield from without(part, path)

    assert list(without(json_schema()["$defs"], "")) == []


def test_a_file_that_is_something_else_is_answered_in_few_words():
    text = "train:\n" + "".join(f"  key{number}: {number}\n" for number in range(500))
    with pytest.raises(ConfigError) as caught:
        parse_config(text, where="x.yaml")
    assert str(caught.value).startswith("x.yaml: 501 mistakes in the settings, the first 20:\n  model: must be given\n")
    assert len(str(caught.value)) < 10_000


def test_names_in_errors_are_short_and_printable():
    with pytest.raises(ConfigError) as caught:
        parse_config(f'base: rpn_r50_fpn\ntrain: {{"\\e[31m{"y" * 900}": 1}}\n', where="x.yaml")
    assert str(caught.value).startswith(r"x.yaml: train.'\x1b[31myyyyyy")
    assert len(str(caught.value)) < 500


# --- free-form values ----------------------------------------------------------------------------------------------


def test_free_form_values_go_out_as_they_came_in(tmp_path):
    config = example()
    assert config.data.augment.albumentations[0] == {"Affine": {"scale": {"x": (0.8, 1.2), "y": 1}, "p": 0.3}}
    (tmp_path / "config.yaml").write_text(dump(config))
    assert load_config(tmp_path / "config.yaml") == config
    assert config.model_dump()["data"]["augment"]["albumentations"] == (
        {"Affine": {"scale": {"x": [0.8, 1.2], "y": 1}, "p": 0.3}},
    )


@pytest.mark.parametrize("value", ["[[[[[[[[[1]]]]]]]]]", "{a: {1: 2}}"])
def test_free_form_values_are_plain_data_of_some_depth(value):
    with pytest.raises(ConfigError, match="expected numbers, texts, lists and mappings by name"):
        preset("rpn_r50_fpn").with_(f"data.augment.albumentations=[{{CLAHE: {{p: {value}}}}}]")
