"""Parts that several presets share, only numbers."""

from typing import Literal

from boxwright.config import losses, parts, training

FPN_LEVELS = ("p2", "p3", "p4", "p5")
Family = Literal["faster_rcnn", "mask_rcnn", "keypoint_rcnn", "cascade_rcnn", "cascade_mask_rcnn"]


def detectron_recipe(
    *, max_steps: int, steps: tuple[int, ...], lr: float = 0.02, warm_up: int = 1000
) -> training.Train:
    """Detectron's: SGD, batches of 16, the rate divided by ten twice; other batches are scaled to it."""
    schedule = training.Schedule(
        max_steps=max_steps, decay=training.Steps(steps=steps), warm_up=training.WarmUp(steps=warm_up)
    )
    return training.Train(batch=16, reference_batch=16, lr=lr, schedule=schedule)


def small_recipe() -> training.Train:
    """From scratch on one small machine: AdamW, batches of 4, 1,500 steps."""
    return training.Train(
        batch=4,
        lr=0.001,
        weight_decay=0.05,
        weight_decay_bias=0.0,
        optimizer=training.AdamW(),
        clip="norm",
        clip_limit=5.0,
        schedule=training.Schedule(
            max_steps=1500, decay=training.Cosine(), warm_up=training.WarmUp(steps=100, factor=0.01)
        ),
        checkpoint_every=250,
        evaluate_every=500,
    )


def fpn_proposals(family: Family) -> parts.RPN:
    """D2's RPN on FPN: 1000 proposals in training, but 1500 for keypoints and 2000 for cascades; 1000 at test."""
    kept = {"keypoint_rcnn": 1500, "cascade_rcnn": 2000, "cascade_mask_rcnn": 2000}.get(family, 1000)
    return parts.RPN(post_nms_top_k=parts.TrainTest(train=kept, test=1000))


def one_level_proposals() -> parts.RPN:
    """D2's RPN on one level (C4, DC5): 12000 boxes before NMS and 2000 after in training, 6000 and 1000 at test."""
    return parts.RPN(
        pre_nms_top_k=parts.TrainTest(train=12000, test=6000), post_nms_top_k=parts.TrainTest(train=2000, test=1000)
    )


def torchvision_proposals(*, convs: int = 1, top_k: int | None = None, score_threshold: float = 0.0) -> parts.RPN:
    """`convs`: 3x3 convolutions, 2 in the second versions. `top_k`: boxes before and after NMS at test; None: 1000."""
    return parts.RPN(
        conv_channels=(-1,) * convs,
        pre_nms_top_k=parts.TrainTest(train=2000, test=top_k or 1000),
        post_nms_top_k=parts.TrainTest(train=2000, test=top_k or 1000),
        score_threshold=score_threshold,
        min_size=1e-3,
        box_loss=losses.SmoothL1(beta=1 / 9),
    )


def family_box_head(family: Family) -> parts.BoxHead:
    """D2's: three stages at IoU 0.5, 0.6 and 0.7 for the cascades; smooth L1 for keypoints, else plain L1."""
    if family.startswith("cascade"):
        stages = tuple(
            parts.CascadeStage(positive_iou=iou, box_weights=(10 * n, 10 * n, 5 * n, 5 * n))
            for n, iou in ((1.0, 0.5), (2.0, 0.6), (3.0, 0.7))
        )
        return parts.BoxHead(class_agnostic=True, cascade=stages)
    return parts.BoxHead(box_loss=losses.SmoothL1(beta=0.5 if family == "keypoint_rcnn" else 0.0))


def torchvision_box_head(features: parts.ConvFcBox, levels: tuple[str, ...] = FPN_LEVELS) -> parts.BoxHead:
    """RoIs of 7x7 cells and torchvision's smooth L1 of beta 1/9."""
    pooling = torchvision_pooling(7, levels)
    return parts.BoxHead(features=features, pooling=pooling, box_loss=losses.SmoothL1(beta=1 / 9))


def torchvision_pooling(size: int, levels: tuple[str, ...] = FPN_LEVELS) -> parts.Pooling:
    """`size` x `size` cells of legacy RoIAlign with 2x2 samples each."""
    return parts.Pooling(size=size, sampling_ratio=2, aligned=False, levels=levels)


def retina_anchors() -> parts.Anchors:
    """Three octaves of a third each, for each of five levels from 32 pixels on."""
    sizes = tuple(tuple(base * 2 ** (octave / 3) for octave in range(3)) for base in (32, 64, 128, 256, 512))
    return parts.Anchors(sizes=sizes)


def rgb_input(resize: parts.Resize, value_range: Literal[1, 255] = 255) -> parts.Input:
    """ImageNet's mean and standard deviation, in units of `value_range`."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if value_range == 255:
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    return parts.Input(channels="rgb", value_range=value_range, mean=mean, std=std, resize=resize)
