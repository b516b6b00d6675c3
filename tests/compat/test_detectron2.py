"""A script for Detectron2 runs after its import lines are changed."""

import copy
import pickle

import numpy as np
import pytest
import torch

from boxwright.compat.detectron2 import model_zoo
from boxwright.compat.detectron2.config import get_cfg, to_config
from boxwright.compat.detectron2.data import MetadataCatalog
from boxwright.compat.detectron2.engine import DefaultPredictor
from boxwright.compat.detectron2.structures import Boxes, Instances
from boxwright.compat.detectron2.utils.visualizer import ColorMode, Visualizer
from boxwright.config import diff
from boxwright.data.image import load_image
from boxwright.engine.conversion import convert_weights
from boxwright.engine.loading import load, load_config, save
from boxwright.errors import ConfigError, ShapeError, WeightsError
from tests.compat.tiny import picture

MASK = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
SMALL = [
    *("MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.FPN.OUT_CHANNELS", 16),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", 32, "MODEL.ROI_MASK_HEAD.CONV_DIM", 16, "MODEL.ROI_HEADS.NUM_CLASSES", 3),
    *("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", 128, "TEST.DETECTIONS_PER_IMAGE", 5),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0, "DATASETS.TEST", "('mine',)", "MODEL.WEIGHTS", ""),
    *("MODEL.DEVICE", "cpu"),
]


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    """A tiny Mask R-CNN with weights in Detectron2's own format."""
    folder = tmp_path_factory.mktemp("d2")
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(MASK))
    cfg.merge_from_list(SMALL)
    save(load(to_config(cfg), device="cpu"), folder / "ours.safetensors")
    convert_weights(folder / "ours.safetensors", folder / "model_final.pkl", to="detectron2")
    cfg.MODEL.WEIGHTS = str(folder / "model_final.pkl")
    return cfg


# --- settings


def test_the_published_settings_are_those_of_the_zoo():
    cfg = get_cfg()
    cfg.merge_from_file(model_zoo.get_config_file(MASK))
    assert diff(to_config(cfg), load_config(f"detectron2/{MASK}")) == []
    assert cfg.MODEL.MASK_ON is True
    assert cfg.SOLVER.STEPS == (210000, 250000)
    assert model_zoo.get_checkpoint_url(MASK) == model_zoo.get_config(MASK, trained=True).MODEL.WEIGHTS
    assert model_zoo.get_checkpoint_url(MASK).endswith("model_final_f10217.pkl")


def test_a_file_with_a_base_is_merged_over_what_was_set(tmp_path):
    (tmp_path / "base.yaml").write_text("MODEL:\n  RESNETS:\n    DEPTH: 101\nSOLVER:\n  BASE_LR: 0.5\n")
    (tmp_path / "mine.yaml").write_text("_BASE_: base.yaml\nSOLVER:\n  BASE_LR: 0.25\n")
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 512
    cfg.merge_from_file(tmp_path / "mine.yaml")
    assert (cfg.MODEL.RESNETS.DEPTH, cfg.SOLVER.BASE_LR, cfg.INPUT.MIN_SIZE_TEST) == (101, 0.25, 512)


def test_values_of_a_list_are_read_as_literals():
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TRAIN", "('a', 'b')", "SOLVER.BASE_LR", "1e-3", "MODEL.MASK_ON", "True"])
    assert (cfg.DATASETS.TRAIN, cfg.SOLVER.BASE_LR, cfg.MODEL.MASK_ON) == (("a", "b"), 1e-3, True)


MISTAKES = [
    (
        lambda cfg: cfg.merge_from_list(["MODEL.MASKS", 1]),
        ConfigError,
        r"no setting MODEL\.MASKS; MODEL\. has .*MASK_ON",
    ),
    (lambda cfg: cfg.merge_from_list(["MODEL.MASK_ON"]), ConfigError, "even number"),
    (lambda cfg: cfg.MODEL.MASKS, AttributeError, r"no setting MODEL\.MASKS"),
    (lambda cfg: setattr(cfg.SOLVER, "STEPS", 5), ConfigError, r"SOLVER\.STEPS: is 5; expected a list"),
    (lambda cfg: setattr(cfg, "MODEL", 5), ConfigError, "MODEL: is a group"),
    (lambda cfg: setattr(cfg, "MINE", 5) or to_config(cfg), ConfigError, "MINE: unknown key"),
    (lambda cfg: cfg.freeze() or setattr(cfg.MODEL, "MASK_ON", True), AttributeError, "frozen; call defrost"),
    (lambda cfg: cfg.merge_from_file("nowhere.yaml"), ConfigError, r"nowhere\.yaml"),
    (lambda cfg: model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_50_FPN_4x.yaml"), WeightsError, "Nearest"),
]


@pytest.mark.parametrize(("act", "kind", "message"), MISTAKES)
def test_a_mistake_in_the_settings_is_told_at_once(act, kind, message):
    with pytest.raises(kind, match=message):
        act(get_cfg())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_settings_and_instances_are_copied_and_pickled(copied):
    cfg = get_cfg()
    cfg.SOLVER.STEPS = (1, 2)
    cfg.freeze()
    other = copied(cfg)
    assert other == cfg
    with pytest.raises(AttributeError, match="frozen; call defrost"):
        other.SOLVER.STEPS = (3,)
    other.defrost()
    other.SOLVER.STEPS = (3,)
    assert cfg.SOLVER.STEPS == (1, 2)
    instances = copied(Instances((10, 20), scores=torch.tensor([0.9, 0.5])))
    assert instances.image_size == (10, 20)
    assert instances.scores.tolist() == torch.tensor([0.9, 0.5]).tolist()


def test_a_clone_is_independent_and_a_dump_is_read_back(tmp_path):
    cfg = get_cfg()
    other = cfg.clone()
    other.MODEL.MASK_ON = True
    other.ANYTHING = {"nested": 1}
    assert cfg.MODEL.MASK_ON is False
    (tmp_path / "dump.yaml").write_text(get_cfg().dump())
    again = get_cfg()
    again.merge_from_file(tmp_path / "dump.yaml")
    assert diff(to_config(again), to_config(get_cfg())) == []


# --- predicting


def test_a_picture_gives_instances(cfg):
    predictor = DefaultPredictor(cfg)
    found = predictor(picture()[:, :, ::-1])["instances"]  # blue, green, red
    expected = load(to_config(cfg), cfg.MODEL.WEIGHTS, device="cpu")(picture())
    assert len(found) == len(expected) > 0
    assert found.image_size == (96, 128)
    assert torch.equal(found.pred_boxes.tensor, expected.boxes)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.pred_classes, expected.labels)
    assert torch.equal(found.pred_masks, expected.masks)
    assert not found.has("pred_keypoints")


def test_an_rpn_gives_proposals():
    cfg = model_zoo.get_config("COCO-Detection/rpn_R_50_FPN_1x.yaml")
    cfg.merge_from_list([*SMALL, "MODEL.RPN.POST_NMS_TOPK_TEST", 7])
    found = DefaultPredictor(cfg)(picture())["proposals"]
    assert len(found) == 7
    assert found.proposal_boxes.tensor.shape == (7, 4)
    assert (found.objectness_logits.diff() <= 0).all()


def test_instances_are_drawn_and_written(cfg, tmp_path):
    found = DefaultPredictor(cfg)(picture())["instances"].to("cpu")
    metadata = MetadataCatalog.get("for this test")
    metadata.thing_classes = ["cat", "dog", "bird"]
    drawn = Visualizer(picture(), metadata, scale=2.0, instance_mode=ColorMode.IMAGE_BW).draw_instance_predictions(
        found
    )
    assert drawn.get_image().shape == (192, 256, 3)
    drawn.save(tmp_path / "out.jpg")
    assert load_image(tmp_path / "out.jpg").shape == (192, 256, 3)


def test_names_of_known_data_sets_are_known():
    assert MetadataCatalog.get("coco_2017_val").thing_classes[79] == "toothbrush"
    assert MetadataCatalog.get("keypoints_coco_2017_val").thing_classes == ["person"]
    assert MetadataCatalog.get("mine") is MetadataCatalog.get("mine")


# --- structures


def test_instances_are_read_and_cut_like_tables():
    instances = Instances((10, 20), scores=torch.tensor([0.9, 0.5, 0.1]))
    instances.pred_boxes = Boxes(torch.tensor([[0.0, 0, 2, 3], [1, 1, 2, 2], [0, 0, 9, 9]]))
    assert [len(instances), len(instances[0]), len(instances[-1]), len(instances[1:])] == [3, 1, 1, 2]
    kept = instances[instances.scores > 0.3]
    assert kept.pred_boxes.area().tolist() == [6, 1]
    assert kept.pred_boxes.get_centers().tolist() == [[1, 1.5], [1.5, 1.5]]
    assert instances.get_fields().keys() == {"scores", "pred_boxes"}
    with pytest.raises(ShapeError, match="2 entries for 3 instances"):
        instances.pred_classes = torch.zeros(2)
    with pytest.raises(AttributeError, match="no field 'pred_masks'; they have scores, pred_boxes"):
        _ = instances.pred_masks
    with pytest.raises(IndexError, match="instance 3 of 3"):
        _ = instances[3]
    instances.remove("scores")
    assert not instances.has("scores")
    assert len(Instances((1, 1))) == 0
    assert np.allclose([box.sum().item() for box in kept.pred_boxes], [5, 6])
