"""From names and files to detectors: what wins over what, what is missing, what does not fit."""

import logging

import pytest
import torch

from boxwright.config import save_config
from boxwright.engine.detector import Detector
from boxwright.engine.loading import load, load_config, load_weights, save
from boxwright.errors import ConfigError, WeightsError
from boxwright.interop.detectron2.weights import to_detectron2
from boxwright.interop.files.read import read_file
from boxwright.interop.files.safetensors_file import write_safetensors
from tests.compat.tiny import picture, tiny_config, tiny_detector


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    path = tmp_path_factory.mktemp("ours") / "tiny.safetensors"
    save(tiny_detector(), path)
    return path


@pytest.fixture
def foreign(tmp_path):
    """The same weights as Detectron2 would save them, which tells no settings."""
    torch.save({"model": to_detectron2(tiny_detector().model.state_dict())}, tmp_path / "d2.pth")
    return tmp_path / "d2.pth"


def test_our_own_file_is_complete(ours):
    detector = load(ours, device="cpu")
    assert detector.config == tiny_config()
    assert detector.class_names == ("cat", "dog", "bird")
    assert torch.equal(detector(picture()).boxes, tiny_detector()(picture()).boxes)


def assert_same(found, expected):
    """The same numbers in every parameter and buffer, in the same layout."""
    tensors, others = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (found.model, expected.model))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
        assert tensor.stride() == others[name].stride(), name
        assert tensor.requires_grad == others[name].requires_grad, name
    assert found.memory_format == expected.memory_format


@pytest.mark.parametrize("changes", [(), ("model.backbone.norm.kind=gn", "model.backbone.norm.groups=4")])
def test_nothing_random_is_drawn_for_a_model_from_a_file_and_it_is_the_same(changes, tmp_path):
    settings = tiny_config().with_(*changes)
    torch.manual_seed(3)
    expected = Detector(config=settings)
    save(expected, tmp_path / "w.safetensors")
    before = torch.get_rng_state()
    found = load(settings, tmp_path / "w.safetensors", device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(found, expected)


def test_a_model_without_weights_has_the_random_ones_of_its_seed(ours):
    load(ours, device="cpu")
    torch.manual_seed(3)
    expected = Detector(config=tiny_config())
    torch.manual_seed(3)
    assert_same(load(tiny_config(), device="cpu"), expected)


def test_a_model_does_not_change_with_the_file_it_came_from(tmp_path):
    path = tmp_path / "w.safetensors"
    save(tiny_detector(), path)
    detector = load(path, device="cpu")
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert_same(detector, tiny_detector())


def test_settings_may_be_an_object_a_file_or_a_name(ours, foreign, tmp_path):
    save_config(tiny_config(), tmp_path / "tiny.yaml")
    for source in (tiny_config(), tmp_path / "tiny.yaml", str(tmp_path / "tiny.yaml")):
        assert torch.equal(load(source, foreign, device="cpu")(picture()).scores, tiny_detector()(picture()).scores)
    assert load("retinanet_r50_fpn", device="cpu").config == load_config("retinanet_r50_fpn")


def test_overrides_come_last(ours):
    assert load(ours, device="cpu", overrides=["test.max_detections=2"]).config.test.max_detections == 2


def test_settings_inside_a_checkpoint_win_over_a_published_name(ours):
    detector = load("torchvision/maskrcnn_resnet50_fpn", weights=ours, device="cpu")
    assert detector.config == tiny_config()


def test_names_inside_a_checkpoint_win_where_their_number_fits(tmp_path):
    meta = {"CLASSES": ("a", "b", "c")}
    torch.save({"state_dict": to_detectron2(tiny_detector().model.state_dict()), "meta": meta}, tmp_path / "m.pth")
    assert load(tiny_config(), tmp_path / "m.pth", device="cpu").class_names == ("a", "b", "c")


@pytest.mark.parametrize("name", ["pipe 1/2\" (5' long)", "a\\b\\n", "two\nlines", "tab\t", "u\u2028v", "null", "1:30"])
def test_class_names_come_back_as_they_were(name, tmp_path):
    settings = tiny_config()
    names = [name, "dog", "bird"]
    settings = settings.with_(model=settings.model.with_(class_names=names))
    save(Detector(config=settings), tmp_path / "w.safetensors")
    found = load(tmp_path / "w.safetensors", device="cpu")
    assert list(found.class_names) == names
    assert found.config == settings
    before = (tmp_path / "w.safetensors").read_bytes()
    save(found, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == before


def test_settings_that_no_model_can_have_are_our_error(ours, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("negative dimension")

    monkeypatch.setattr("boxwright.engine.detector.build_model", refuse)
    with pytest.raises(
        ConfigError, match=r"no model can be built from these settings: RuntimeError: negative dimension"
    ):
        load(tiny_config(), ours, device="cpu")


def test_a_checkpoint_without_settings_asks_for_them(foreign):
    with pytest.raises(ConfigError, match=r"d2\.pth: holds weights of Detectron2 but no settings; give its config"):
        load(foreign)


def test_a_model_with_parts_left_at_random_is_refused(ours, tmp_path):
    tensors = read_file(ours).data
    kept = {name: value for name, value in tensors.items() if not name.startswith("mask_head.logits")}
    write_safetensors(tmp_path / "part.safetensors", kept, config="", class_names=[])
    with pytest.raises(
        WeightsError, match=r"part\.safetensors: 2 weights of the model are not in the file, first mask_"
    ):
        load(tiny_config(), tmp_path / "part.safetensors", device="cpu")


def test_weights_of_other_shapes_are_counted_and_the_first_is_shown(foreign):
    wider = tiny_config().with_("model.num_classes=5", "model.class_names=[]")
    message = r"6 weights do not fit the settings, first box_head\.score\.weight: \(4, 32\) in the file, \(6, 32\)"
    with pytest.raises(WeightsError, match=message):
        load(wider, foreign, device="cpu")
    detector = Detector(config=wider)
    report = load_weights(detector, foreign)
    assert len(report.mismatched) == 6
    assert "mask_head.convs.0.weight" in report.loaded


def test_weights_without_a_place_are_told(foreign, caplog):
    settings = tiny_config().with_("model.mask_head=null")
    with caplog.at_level(logging.WARNING):
        load(settings, foreign, device="cpu")
    assert "8 weights have no place in the model, first mask_head.convs.0.weight" in caplog.text


def test_a_part_can_be_saved_and_loaded_alone(tmp_path):
    save(tiny_detector(), tmp_path / "backbone.safetensors", prefix="backbone.")
    tensors = read_file(tmp_path / "backbone.safetensors").data
    assert all(name.startswith("backbone.") for name in tensors)
    other = Detector(config=tiny_config())
    report = load_weights(other, tmp_path / "backbone.safetensors", prefix="backbone.")
    assert report.missing == []
    assert torch.equal(other.model.backbone.stem.weight, tiny_detector().model.backbone.stem.weight)
    with pytest.raises(WeightsError, match="no weight's name starts with 'spine'"):
        save(tiny_detector(), tmp_path / "x", prefix="spine")


def test_the_first_convolution_can_be_swapped_on_the_way_in(foreign):
    detector = Detector(config=tiny_config())
    load_weights(detector, foreign, swap_channels=True)
    expected = tiny_detector().model.backbone.stem.weight.flip(1)
    assert torch.equal(detector.model.backbone.stem.weight, expected)


@pytest.mark.parametrize("source", ["no_such_preset", "x" * 5000, "a\0b"])
def test_a_source_that_is_nothing_is_an_error(source):
    with pytest.raises(ConfigError):
        load(source)


def test_a_device_that_is_not_there_is_an_error(ours):
    with pytest.raises(ConfigError, match="device 'cuda:99' cannot be used here"):
        load(ours, device="cuda:99")
