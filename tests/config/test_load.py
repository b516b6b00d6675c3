"""Settings go out and come back the same, and mistakes are told all at once, with place, value and remedy."""

import pytest

from boxwright.config import diff, dump, json_schema, load_config, parse_config, preset, preset_names, save_config
from boxwright.errors import ConfigError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_yaml_exactly(name):
    config = preset(name)
    assert parse_config(dump(config), where="dumped") == config


def test_a_saved_file_loads_to_the_same_settings(tmp_path):
    config = preset("mask_rcnn_r50_fpn").with_("train.lr=1e-5")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.train.lr == 1e-5


def test_a_file_with_a_base_holds_only_what_differs(tmp_path):
    (tmp_path / "mine.yaml").write_text("base: faster_rcnn_r50_fpn\ntrain: {lr: 0.5}\nmodel: {num_classes: 3}\n")
    changes = diff(preset("faster_rcnn_r50_fpn"), load_config(tmp_path / "mine.yaml"))
    assert changes == [("model.num_classes", 80, 3), ("train.lr", 0.02, 0.5)]


def test_a_base_may_be_a_file_beside_it(tmp_path):
    (tmp_path / "a.yaml").write_text("base: rpn_r50_fpn\ntrain: {lr: 0.5}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\ntrain: {seed: 7}\n")
    config = load_config(tmp_path / "b.yaml")
    assert (config.train.lr, config.train.seed) == (0.5, 7)


def test_a_base_that_leads_back_is_an_error(tmp_path):
    (tmp_path / "a.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ConfigError, match=r"base 'a\.yaml' leads back to itself"):
        load_config(tmp_path / "a.yaml")


def test_a_new_kind_starts_from_its_own_defaults():
    config = preset("faster_rcnn_r50_fpn").with_("train.schedule.decay.kind=cosine")
    assert config.train.schedule.decay.model_dump() == {"kind": "cosine", "final": 0.0}


def test_a_part_that_was_off_is_switched_on():
    config = preset("faster_rcnn_r50_fpn").with_("model.mask_head.convs=[64]")
    assert config.model.mask_head.convs == (64,)
    assert config.model.mask_head.upsample == "deconv"


def test_list_entries_are_set_by_index():
    assert preset("rpn_r50_fpn").with_("model.anchors.sizes.0=[16]").model.anchors.sizes[0] == (16,)


MISTAKES = [
    ("train.lrr=1", "train.lrr: no such setting (value 1); did you mean train.lr?"),
    ("train.max_steps=5", "train.max_steps: no such setting (value 5); did you mean train.schedule.max_steps?"),
    ("model.nek.kind=fpn", "model.nek: no such setting (value {'kind': 'fpn'}); did you mean model.neck?"),
    ("model.backbone.depth=51", "model.backbone.depth: got 51; expected 18, 34, 50, 101 or 152"),
    ("model.neck.kind=pafpnn", "model.neck.kind: got 'pafpnn'; expected one of none, fpn, pafpn; did you mean pafpn?"),
    ("model.input.channels=gbr", "model.input.channels: got 'gbr'; expected rgb or bgr; did you mean rgb?"),
    ("train.batch=-1", "train.batch: got -1; expected greater than 0 or auto"),
    ("test.score_threshold=2", "test.score_threshold: got 2; expected less than or equal to 1"),
    ("train.lr.x=2", "override 'train.lr.x=2': train.lr is 0.02, which has no parts"),
    ("train.lr", "override 'train.lr': write it as dotted.key=value"),
    (
        "model.anchors.sizes.9=1",
        "override 'model.anchors.sizes.9=1': model.anchors.sizes is a list of 5; give an index below that",
    ),
    ("model.class_names=[a]", "model: class_names has 1 names for num_classes 80"),
    ("model.box_head=null", "model: mask_head and keypoint_head read the regions of a box_head; box_head is null"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_a_wrong_override_is_explained(text, message):
    with pytest.raises(ConfigError) as caught:
        preset("mask_rcnn_r50_fpn").with_(text)
    assert str(caught.value).removeprefix("overrides: ") == message


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        preset("mask_rcnn_r50_fpn").with_("train.lrr=1", "model.backbone.depth=51", "test.nms=soft")
    lines = str(caught.value).splitlines()
    assert lines[0] == "overrides: 3 mistakes in the settings"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["model.backbone.depth", "train.lrr", "test.nms"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml: expected settings (a mapping with model, data, train, test)"),
        ("a: [1", "x.yaml, line 2, column 1: not readable as YAML: "),
        ("train: {lr: 1, lr: 2}", "x.yaml, line 1, column 16: the key 'lr' stands twice"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "x.yaml, line 1, column 4: the tag tag:yaml.org,2002:python/object/apply:os.system is not understood",
        ),
        ("a: &a [*a]", "x.yaml, line 1, column 8: *a refers to nothing that ends before it"),
        (
            "base: mask_rcnn_r50",
            "x.yaml: base 'mask_rcnn_r50' is neither a preset nor a file beside it; nearest presets: ",
        ),
    ],
)
def test_text_that_is_no_settings_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_config(text + "\n", where="x.yaml")
    assert str(caught.value).startswith(message)


def test_aliases_that_unfold_into_billions_are_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 50000 values once its aliases are written out"):
        parse_config("\n".join(lines), where="bomb.yaml")


def test_an_unknown_name_lists_the_nearest_presets():
    with pytest.raises(
        ConfigError, match="mask_rcnn_r50fpn: neither a file nor a preset; nearest presets: mask_rcnn_r50_fpn"
    ):
        load_config("mask_rcnn_r50fpn")


def test_the_schema_describes_settings_for_editors():
    schema = json_schema()
    assert set(schema["properties"]) == {"model", "data", "train", "test", "base"}
    depth = schema["$defs"]["ResNet"]["properties"]["depth"]
    assert depth["enum"] == [18, 34, 50, 101, 152]
    assert "Detectron" in schema["$defs"]["ResNet"]["properties"]["stride_in_1x1"]["description"]
