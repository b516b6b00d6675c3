"""Published models of Detectron2 by the path of their config, such as "COCO-Detection/faster_rcnn_R_50_FPN_3x.yaml"."""

from boxwright.compat.detectron2.config import PUBLISHED, CfgNode, get_cfg
from boxwright.interop.zoo.models import ZooModel, find_model


def get_config_file(config_path: str) -> str:
    """A name that `cfg.merge_from_file` takes."""
    return _model(config_path).name


def get_checkpoint_url(config_path: str) -> str:
    """The address of the weights; `DefaultPredictor` downloads it once."""
    return _model(config_path).url


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """The settings; with `trained` their MODEL.WEIGHTS is the published checkpoint."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg


def _model(config_path: str) -> ZooModel:
    return find_model(f"{PUBLISHED}{config_path}")
