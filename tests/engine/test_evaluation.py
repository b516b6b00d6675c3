"""Evaluating a detector on a data set gives what its results file gives, in any batches and any number of processes."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

import boxwright as bw
from boxwright.config import testing
from boxwright.data import synth
from boxwright.data.formats.reading import read_dataset
from boxwright.data.image import load_image
from boxwright.engine.detector import Detector
from boxwright.engine.evaluation import evaluate, keypoint_sigmas
from boxwright.engine.ground_truth import ground_truth_of
from boxwright.engine.loading import load_config
from boxwright.errors import ConfigError, DatasetError
from boxwright.evaluation import evaluate_coco, read_ground_truth
from boxwright.types import RawDetections

SMALL = ["model.input.resize.short_test=96", "model.input.resize.long_test=160", "test.max_detections=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of two sizes, so that there are batches of several padded sizes."""
    out = tmp_path_factory.mktemp("evaluated")
    synth.generate(out, kind="shapes", images=20, seed=1, size=96, val_fraction=0.4)
    return out


def small_detector(folder):
    names = list(read_dataset(folder, split="val", use_index=False).class_names)
    config = load_config("mask_rcnn_r18_fpn_gn").with_(*SMALL)
    model = config.model.with_(num_classes=len(names), class_names=names)
    torch.manual_seed(0)
    detector = Detector(config=config.with_(model=model))
    for module in detector.model.modules():  # predictions of an untrained model are all alike without this
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.05)
    return detector


@pytest.fixture(scope="module")
def detector(folder):
    return small_detector(folder)


def knowing(detector, monkeypatch):
    """Makes the model find exactly what is annotated, all with the score 0.9."""

    def found(batch, **_):
        return [RawDetections(t.boxes, torch.full((len(t),), 0.9), t.labels) for t in batch.targets]

    monkeypatch.setattr(detector.model, "forward", found)


def guessing(detector, monkeypatch):
    """Makes the model find shaken copies of what is annotated, the same ones for the same image."""

    def found(batch, **_):
        return [_guess(target, torch.Generator().manual_seed(target.image_id)) for target in batch.targets]

    monkeypatch.setattr(detector.model, "forward", found)


def _guess(target, generator):
    count = 3 * len(target)
    shaken = target.boxes.repeat(3, 1) + 4 * torch.randn(count, 4, generator=generator)
    boxes = torch.cat([torch.minimum(shaken[:, :2], shaken[:, 2:] - 2), shaken[:, 2:]], dim=1)
    masks = torch.rand(count, 28, 28, generator=generator) * 2
    return RawDetections(boxes, torch.rand(count, generator=generator), target.labels.repeat(3), masks=masks)


def test_a_model_that_finds_what_is_annotated_has_ap_1(folder, detector, monkeypatch):
    knowing(detector, monkeypatch)
    scores = bw.evaluate(detector, folder, workers=0, kinds=["box"])
    assert scores.box.ap50 == pytest.approx(1, abs=1e-12)
    assert scores.box.ap > 0.99  # boxes went to the network frame and back in single precision
    assert set(scores.box.per_class) == set(detector.class_names)


def test_figures_are_those_of_the_saved_results(folder, detector, tmp_path, monkeypatch):
    guessing(detector, monkeypatch)
    done = []
    path = tmp_path / "results.json"
    scores = evaluate(
        detector, folder, batch=3, workers=0, save=path, keep=True, progress=lambda *step: done.append(step)
    )
    from_file = evaluate_coco(folder / "val.json", path)
    assert 0.1 < scores.box.ap50 < 0.9
    assert scores.mask.ap50 > 0
    for kind in ("box", "mask"):
        streamed, filed = getattr(scores, kind), getattr(from_file, kind)
        np.testing.assert_array_equal(streamed.curves.precision, filed.curves.precision)
        np.testing.assert_array_equal(streamed.stats, filed.stats)
    assert done == [(i, 8) for i in range(1, 9)]
    assert len(scores.detections) == len(json.loads(path.read_text()))
    assert scores.timing.num_images == 5  # without the first batch of 3
    assert scores.timing.total >= scores.timing.compute > 0


def test_results_are_those_of_calling_the_detector(folder, detector, tmp_path):
    path = tmp_path / "results.json"
    evaluate(detector, folder, batch=4, workers=0, save=path)
    records = json.loads(path.read_text())
    annotations = read_dataset(folder, split="val", use_index=False)
    ids = [category.id for category in annotations.categories]
    for index in (0, 3):
        called = detector(load_image(annotations.path(index))).to_coco(annotations.image_id(index), ids)
        saved = [record for record in records if record["image_id"] == annotations.image_id(index)]
        np.testing.assert_allclose([r["bbox"] for r in saved], [r["bbox"] for r in called], atol=1e-3)
        np.testing.assert_allclose([r["score"] for r in saved], [r["score"] for r in called], atol=1e-5)
        assert [r["category_id"] for r in saved] == [r["category_id"] for r in called]


def test_the_model_goes_back_to_training(folder, detector, monkeypatch):
    guessing(detector, monkeypatch)
    detector.model.train()
    evaluate(detector, folder, workers=0, kinds=["box"])
    assert detector.model.training
    detector.model.eval()


def test_pictures_that_cannot_be_read_count_as_empty_and_are_told(folder, detector, tmp_path, monkeypatch):
    knowing(detector, monkeypatch)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    first = json.loads((broken / "val.json").read_text())["images"][0]["file_name"]
    (broken / "images" / first).write_bytes(b"no picture")
    scores = evaluate(detector, broken, workers=0, kinds=["box"])
    assert 0.3 < scores.box.ar100 < 0.99
    assert scores.notes[-1].startswith(
        "1 of the images could not be read and count as images in which nothing was found;"
    )
    assert first in scores.notes[-1]


def test_ground_truth_from_a_data_set_is_that_of_its_file(folder):
    whole, direct = (
        ground_truth_of(read_dataset(folder, split="val", use_index=False)),
        read_ground_truth(json.loads((folder / "val.json").read_text())),
    )
    for name in ("image_ids", "image_files", "category_ids", "category_names"):
        assert getattr(whole, name) == getattr(direct, name)
    for name in ("ids", "image", "category", "boxes_xywh", "area", "is_crowd", "image_sizes"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(direct, name))
    np.testing.assert_array_equal(whole.runs.text, direct.runs.text)


@pytest.mark.parametrize(
    ("count", "own", "expected"),
    [(0, [], None), (17, [], None), (17, [0.1] * 17, [0.1] * 17), (2, [], [0.05, 0.05]), (2, [0.1, 0.2], [0.1, 0.2])],
)
def test_sigmas_are_those_of_the_settings_or_of_coco_or_alike_for_each_point(count, own, expected):
    truth = SimpleNamespace(keypoints=np.zeros((2, count, 3)) if count else None)
    assert keypoint_sigmas(testing.Selection(keypoint_sigmas=own), truth) == expected


def test_classes_that_do_not_fit_are_told(folder, detector):
    other = small_detector(folder)
    names = [f"thing {i}" for i in range(len(detector.class_names))]
    model = other.config.model.with_(class_names=names)
    with pytest.raises(DatasetError, match="which the model does not know; its classes are thing 0, thing 1"):
        evaluate(Detector(config=other.config.with_(model=model)), folder)
    model = other.config.model.with_(class_names=[], num_classes=7)
    other = Detector(config=other.config.with_(model=model))
    with pytest.raises(DatasetError, match=r"classes and the model 7, without names to tell which is which"):
        evaluate(other, folder)
    model = other.config.model.with_(box_head=None, mask_head=None)
    other = Detector(config=other.config.with_(model=model))
    with pytest.raises(ConfigError, match="the model finds proposals only"):
        evaluate(other, folder)


def test_test_time_augmentation_is_measured_where_the_settings_ask_for_it(folder, detector, tmp_path):
    changed = detector.config.with_("test.augment.short_sides=[64, 96]", "test.max_detections=4")
    augmented = Detector(config=changed)
    augmented.model.load_state_dict(detector.model.state_dict())
    path = tmp_path / "results.json"
    scores = evaluate(augmented, folder, save=path)
    assert scores.box.ap >= 0
    annotations = read_dataset(folder, split="val", use_index=False)
    called = augmented(load_image(annotations.path(0)))
    saved = [r for r in json.loads(path.read_text()) if r["image_id"] == annotations.image_id(0)]
    np.testing.assert_allclose([r["score"] for r in saved], called.scores, atol=1e-6)


@pytest.mark.slow
def test_two_processes_count_each_image_once(folder, detector, tmp_path, monkeypatch):
    guessing(detector, monkeypatch)
    alone = evaluate(detector, folder, batch=2, workers=0, save=tmp_path / "alone.json")
    mp.spawn(_evaluate_share, args=(str(folder), str(tmp_path)), nprocs=2)
    figures = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert figures[0] == figures[1]
    expected = alone.to_dict()
    for kind in ("box", "mask"):
        assert figures[0][kind] == expected[kind]
    assert figures[0]["timing"]["devices"] == 2
    together, by_one = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("together", "alone"))
    assert len(together) == len(by_one) == figures[0]["kept"]
    assert list(tmp_path.glob(".together*")) == []


def _evaluate_share(rank, folder, out):
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(f"{out}/store", 2)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    detector = small_detector(folder)
    guessing(detector, pytest.MonkeyPatch())
    scores = evaluate(detector, folder, batch=2, workers=0, save=f"{out}/together.json", keep=True)
    with open(f"{out}/{rank}.json", "w") as file:
        json.dump(scores.to_dict() | {"kept": len(scores.detections)}, file)
    torch.distributed.destroy_process_group()
