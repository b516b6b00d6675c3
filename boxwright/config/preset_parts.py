"""Parts that several presets share, only numbers."""

from typing import Literal

from boxwright.config.parts import (
    RPN,
    Anchors,
    BoxHead,
    CascadeStage,
    ConvFcBox,
    Input,
    Pooling,
    Resize,
    SmoothL1,
    TrainTest,
)
from boxwright.config.training import Schedule, Steps, Train, WarmUp

Family = Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "cascade_rcnn", "cascade_mask_rcnn"]


def detectron_recipe(*, max_steps: int, steps: list[int], lr: float = 0.02, warm_up: int = 1000) -> Train:
    """Detectron's: SGD, batches of 16, the rate divided by ten twice; other batches are scaled to it."""
    schedule = Schedule(max_steps=max_steps, decay=Steps(steps=steps), warm_up=WarmUp(steps=warm_up))
    return Train(batch=16, reference_batch=16, lr=lr, schedule=schedule)


def fpn_proposals(family: Family) -> RPN:
    kept = {"keypoint_rcnn": 1500, "cascade_rcnn": 2000, "cascade_mask_rcnn": 2000}.get(family, 1000)
    return RPN(post_nms_top_k=TrainTest(train=kept, test=1000))


def one_level_proposals() -> RPN:
    return RPN(pre_nms_top_k=TrainTest(train=12000, test=6000), post_nms_top_k=TrainTest(train=2000, test=1000))


def torchvision_proposals(*, convs: int = 1, top_k: int | None = None, score_threshold: float = 0.0) -> RPN:
    return RPN(
        conv_channels=[-1] * convs,
        pre_nms_top_k=TrainTest(train=2000, test=top_k or 1000),
        post_nms_top_k=TrainTest(train=2000, test=top_k or 1000),
        score_threshold=score_threshold,
        min_size=1e-3,
        box_loss=SmoothL1(beta=1 / 9),
    )


def family_box_head(family: Family) -> BoxHead:
    if family.startswith("cascade"):
        stages = [
            CascadeStage(positive_iou=iou, box_weights=(10 * n, 10 * n, 5 * n, 5 * n))
            for n, iou in ((1.0, 0.5), (2.0, 0.6), (3.0, 0.7))
        ]
        return BoxHead(class_agnostic=True, cascade=stages)
    return BoxHead(box_loss=SmoothL1(beta=0.5 if family == "keypoint_rcnn" else 0.0))


def torchvision_box_head(features: ConvFcBox, levels: list[str] | None = None) -> BoxHead:
    pooling = torchvision_pooling(7)
    if levels:
        pooling.levels = levels
    return BoxHead(features=features, pooling=pooling, box_loss=SmoothL1(beta=1 / 9))


def torchvision_pooling(size: int) -> Pooling:
    return Pooling(size=size, sampling_ratio=2, aligned=False)


def retina_anchors() -> Anchors:
    return Anchors(sizes=[[base * 2 ** (octave / 3) for octave in range(3)] for base in (32, 64, 128, 256, 512)])


def rgb_input(resize: Resize, value_range: Literal[1, 255] = 255) -> Input:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if value_range == 255:
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return Input(channels="rgb", value_range=value_range, mean=mean, std=std, resize=resize)
