"""The same models of torchvision and Detectron2, with weights from names, shapes and a seed.

Weights of one spread for all layers would leave a network with nothing to find; those of tests/golden/fill.py give
each model a hundred detections. Detectron2, for what torchvision has no model of, is read from PYTHONPATH.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import detection, resnet18, resnet50
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

import boxwright as bw
from benchmarks.table import LeftOutError
from boxwright.data.image import RgbImage
from boxwright.types import Detections, Target
from tests.golden.fill import fill_all

FROZEN = partial(FrozenBatchNorm2d, eps=0.0)  # torchvision sets eps to 0 where it loads its own weights
SPREAD = (
    (r"^rpn\.head\.cls_logits\.weight$", 1.51),
    (r"^rpn\.head\.bbox_pred\.weight$", 0.191),
    (r"^roi_heads\.box_predictor\.cls_score\.weight$", 2.76),
    (r"^roi_heads\.box_predictor\.bbox_pred\.weight$", 0.632),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits\.weight$", 3.2),
)


Spread = Sequence[tuple[str, float]]
Images = list[Any]  # as the peer wants them


@dataclass(frozen=True, kw_only=True)
class Torchvision:
    """A model of torchvision, and the settings of ours that it equals."""

    program = "torchvision"
    config: str
    build: Callable[[], nn.Module]
    overrides: Sequence[str] = ()
    spread: Spread = SPREAD
    size: tuple[int, int] = (800, 1199)

    def images(
        self, pictures: Sequence[RgbImage], targets: Sequence[Target] | None = None, *, device: torch.device
    ) -> Any:
        """What its models are called with, on the device: (3, H, W) float of 0 to 1, and dicts of targets."""
        floats = [(_planes(picture).float() / 255).to(device) for picture in pictures]
        return (floats,) if targets is None else (floats, [_torchvision_target(target, device) for target in targets])

    def results(self, found: list[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        """Boxes and labels that count from 0, on the CPU."""
        return [(one["boxes"].cpu(), one["labels"].cpu() - 1) for one in found]


@dataclass(frozen=True, kw_only=True)
class Detectron2:
    """A model of Detectron2's zoo, and the settings of ours that it equals; for detection."""

    program = "detectron2"
    config: str
    spread: Spread
    overrides: Sequence[str] = ()
    size: tuple[int, int] = (800, 1199)

    def build(self) -> nn.Module:
        try:
            from detectron2 import model_zoo
            from detectron2.modeling import build_model
        except ModuleNotFoundError as error:
            raise LeftOutError(f"Detectron2 cannot be imported ({error}); put its folder on PYTHONPATH") from error
        config = model_zoo.get_config(self.config.removeprefix("detectron2/") + ".yaml")
        config.MODEL.DEVICE = "cpu"  # where weights are filled; `make` moves the model
        return build_model(config)

    def images(self, pictures: Sequence[RgbImage], *, device: torch.device) -> Any:
        """(3, H, W) BGR levels on the device."""
        return ([{"image": _planes(picture).flip(0).float().to(device)} for picture in pictures],)

    def results(self, found: list[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
        instances = [one["instances"].to("cpu") for one in found]
        return [(one.pred_boxes.tensor, one.pred_classes) for one in instances]


Peer = Torchvision | Detectron2


def make(peer: Peer, precision: str, device: torch.device) -> tuple[nn.Module, bw.Detector]:
    """Both on the device, with equal weights: ours reads the file that the other's are saved to."""
    theirs = peer.build()
    shapes = [(name, tuple(value.shape)) for name, value in theirs.named_parameters()]
    shapes += [(name, tuple(value.shape)) for name, value in theirs.named_buffers() if name in theirs.state_dict()]
    kept = (r"anchor_generator", r"pixel_")
    filled = fill_all(shapes, 0, peer.spread, kept)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in filled.items()}, strict=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(theirs.state_dict(), path)
        ours = bw.load(peer.config, path, device=device, precision=precision, overrides=peer.overrides)
        return theirs.to(device), ours


def frozen_resnet50_fpn(trainable: int = 3) -> nn.Module:
    return _resnet_fpn_extractor(resnet50(weights=None, norm_layer=FROZEN), trainable)


def _habits_of_torchvision() -> list[str]:
    """The habits of its models, for a model of ours that it has none of."""
    model = bw.load_config("torchvision/maskrcnn_resnet50_fpn").model
    return [
        f"model.conventions={model.conventions.model_dump_json()}",
        "model.input.resize.method=torch",
        "model.box_head.pooling.aligned=false",
        "model.mask_head.pooling.aligned=false",
        f"model.proposals.box_loss={model.proposals.box_loss.model_dump_json()}",
        f"model.box_head.box_loss={model.box_head.box_loss.model_dump_json()}",
        f"test={bw.load_config('torchvision/maskrcnn_resnet50_fpn').test.model_dump_json()}",
    ]


def _small() -> nn.Module:
    """mask_rcnn_r18_fpn_gn of Boxwright: ResNet-18, pyramid and heads of 96 channels, all with group norm."""
    norm = partial(nn.GroupNorm, 16)
    levels = {f"layer{i}": str(i - 1) for i in (1, 2, 3, 4)}
    backbone = BackboneWithFPN(
        resnet18(weights=None, norm_layer=norm), levels, [64, 128, 256, 512], 96, norm_layer=norm
    )
    sizes = tuple((side,) for side in (16, 32, 64, 128, 256))
    pool = partial(MultiScaleRoIAlign, ["0", "1", "2", "3"], sampling_ratio=2, canonical_scale=112)
    return MaskRCNN(
        backbone,
        min_size=320,
        max_size=512,
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_train=500,
        rpn_post_nms_top_n_test=300,
        rpn_batch_size_per_image=128,
        box_roi_pool=pool(output_size=7),
        box_head=FastRCNNConvFCHead((96, 7, 7), [96, 96], [256], norm_layer=norm),
        box_predictor=FastRCNNPredictor(256, 81),
        box_batch_size_per_image=128,
        mask_roi_pool=pool(output_size=14),
        mask_head=MaskRCNNHeads(96, [96, 96], 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(96, 96, 81),
    )


_D2_STEM = (r"stem\.conv1\.weight$", 0.0172)

PEERS: dict[str, Peer] = {
    "Faster R-CNN R50-FPN": Torchvision(
        config="torchvision/fasterrcnn_resnet50_fpn", build=lambda: FasterRCNN(frozen_resnet50_fpn(), 91)
    ),
    "Mask R-CNN R50-FPN": Torchvision(
        config="torchvision/maskrcnn_resnet50_fpn", build=lambda: MaskRCNN(frozen_resnet50_fpn(), 91)
    ),
    "Keypoint R-CNN R50-FPN": Torchvision(
        config="torchvision/keypointrcnn_resnet50_fpn",
        build=lambda: detection.KeypointRCNN(frozen_resnet50_fpn(), 2, num_keypoints=17),
    ),
    "Faster R-CNN MobileNetV3-FPN": Torchvision(
        config="torchvision/fasterrcnn_mobilenet_v3_large_fpn",
        build=lambda: detection.fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None),
        spread=(
            (r"cls_logits\.weight$", 8.11),
            (r"rpn\.head\.bbox_pred\.weight$", 0.821),
            (r"cls_score\.weight$", 7.51),
            (r"box_predictor\.bbox_pred\.weight$", 1.69),
        ),
    ),
    "Mask R-CNN R18-FPN GN": Torchvision(
        config="mask_rcnn_r18_fpn_gn", build=_small, size=(320, 320), overrides=_habits_of_torchvision()
    ),
    "Faster R-CNN R50-C4": Detectron2(
        config="detectron2/COCO-Detection/faster_rcnn_R_50_C4_3x",
        spread=(
            _D2_STEM,
            (r"objectness_logits\.weight$", 4.67),
            (r"anchor_deltas\.weight$", 0.444),
            (r"cls_score\.weight$", 9.59),
            (r"bbox_pred\.weight$", 2.3),
        ),
    ),
    "Faster R-CNN R50-DC5": Detectron2(
        config="detectron2/COCO-Detection/faster_rcnn_R_50_DC5_3x",
        spread=(
            _D2_STEM,
            (r"objectness_logits\.weight$", 5.57),
            (r"anchor_deltas\.weight$", 0.548),
            (r"cls_score\.weight$", 8.96),
            (r"bbox_pred\.weight$", 2.05),
        ),
    ),
    "Cascade Mask R-CNN R50-FPN": Detectron2(
        config="detectron2/Misc/cascade_mask_rcnn_R_50_FPN_3x",
        spread=(
            _D2_STEM,
            (r"objectness_logits\.weight$", 1.45),
            (r"anchor_deltas\.weight$", 0.147),
            (r"cls_score\.weight$", 1.87),
            (r"bbox_pred\.weight$", 0.45),
            (r"mask_head\.predictor\.weight$", 1.91),
        ),
    ),
}


def _planes(picture: RgbImage) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def _torchvision_target(target: Target, device: torch.device) -> dict[str, Tensor]:
    """Classes count from 1, masks are bitmaps."""
    given = {"boxes": target.boxes, "labels": target.labels + 1}
    if target.masks is not None:
        given["masks"] = target.masks.bitmaps().byte()
    if target.keypoints is not None:
        given["keypoints"] = target.keypoints
    return {name: value.to(device) for name, value in given.items()}


def share_equal(ours: Sequence[Detections], theirs: Sequence[tuple[Tensor, Tensor]], *, tolerance: float) -> float:
    """The share of the peer's detections, boxes and labels of each image, that ours has within `tolerance` pixels."""
    is_found = [_found(mine, *other) <= tolerance for mine, other in zip(ours, theirs, strict=True)]
    return float(torch.cat(is_found).float().mean())


def _found(ours: Detections, boxes: Tensor, labels: Tensor) -> Tensor:
    """(N, 4) boxes and (N,) labels -> (N,) how far the nearest of ours with the same label is."""
    distance = (boxes[:, None] - ours.boxes[None]).abs().amax(dim=2)
    return torch.where(labels[:, None] == ours.labels[None], distance, torch.inf).amin(dim=1)
