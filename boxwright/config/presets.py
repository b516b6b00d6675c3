"""Presets: functions that return whole settings, only numbers. `preset(name)` finds one by name.

The numbers are those of the published recipes: Detectron2's unless the name says otherwise (`_v2` and MobileNet:
torchvision's; VGG-16: Detectron's; PAFPN: mmdetection's).
"""

import difflib
from collections.abc import Callable
from functools import cache, partial
from typing import Literal

from boxwright.config import losses, norms, parts, schema
from boxwright.config.conventions import DETECTRON, DETECTRON2, MMDETECTION, TORCHVISION
from boxwright.config.preset_parts import (
    Family,
    detectron_recipe,
    family_box_head,
    fpn_proposals,
    one_level_proposals,
    retina_anchors,
    rgb_input,
    small_recipe,
    torchvision_box_head,
    torchvision_pooling,
    torchvision_proposals,
)
from boxwright.config.schema import Config
from boxwright.errors import ConfigError

_BGR_STD = (57.375, 57.12, 58.395)
_MULTI_SCALE = parts.Resize(short_train=(640, 672, 704, 736, 768, 800))
_ONE_LEVEL_ANCHORS = parts.Anchors(sizes=((32, 64, 128, 256, 512),))
_RESNETS = {
    "r50": parts.ResNet(depth=50, stride_in_1x1=True),
    "r101": parts.ResNet(depth=101, stride_in_1x1=True),
    "x101_32x8d": parts.ResNet(depth=101, groups=32, width_per_group=8),
    "x101_64x4d": parts.ResNet(depth=101, groups=64, width_per_group=4),
}


def preset(name: str) -> Config:
    """The settings of a preset; an unknown name is an error with the nearest ones."""
    maker = _presets().get(name)
    if maker is None:
        close = difflib.get_close_matches(name, _presets(), n=3)
        raise ConfigError(f"no preset {name!r}" + (f"; nearest: {', '.join(close)}" if close else ""))
    return maker()


def preset_names() -> list[str]:
    """All of them, sorted."""
    return sorted(_presets())


@cache
def _presets() -> dict[str, Callable[[], Config]]:
    makers: dict[str, Callable[[], Config]] = {}
    families: tuple[Family, ...] = ("faster_rcnn", "mask_rcnn", "keypoint_rcnn", "cascade_rcnn", "cascade_mask_rcnn")
    for family in families:
        for body in _RESNETS:
            makers[f"{family}_{body}_fpn"] = partial(_fpn, family, _RESNETS[body])
        for body in ("r50", "r101") if family in ("faster_rcnn", "mask_rcnn") else ():
            makers[f"{family}_{body}_c4"] = partial(_c4, family, _RESNETS[body])
            makers[f"{family}_{body}_dc5"] = partial(_dc5, family, _RESNETS[body])
    for family in ("faster_rcnn", "mask_rcnn", "cascade_mask_rcnn"):
        for depth in (50, 101):
            makers[f"{family}_r{depth}_fpn_gn"] = partial(_fpn_gn, family, depth)
            makers[f"{family}_r{depth}_fpn_gn_scratch"] = partial(_fpn_gn, family, depth, scratch=True)
        makers[f"{family}_r50_fpn_dconv_c3_c5"] = partial(_fpn_deformable, family)
    for family in ("faster_rcnn", "mask_rcnn"):
        makers[f"{family}_r50_pafpn"] = partial(_pafpn, family)
        makers[f"{family}_r50_fpn_v2"] = partial(_fpn_v2, family)
        for variant in range(8):
            makers[f"{family}_efficientnet_b{variant}_c4"] = partial(_efficientnet_c4, family, variant)
            makers[f"{family}_efficientnet_b{variant}_fpn"] = partial(_efficientnet_fpn, family, variant)
    return makers | {
        "retinanet_r50_fpn": partial(_retinanet, 50),
        "retinanet_r101_fpn": partial(_retinanet, 101),
        "retinanet_r50_fpn_v2": _retinanet_v2,
        "rpn_r50_c4": _rpn_c4,
        "rpn_r50_fpn": _rpn_fpn,
        "fast_rcnn_r50_fpn": _fast_rcnn,
        "faster_rcnn_mobilenet_v3_large_fpn": _mobilenet,
        "faster_rcnn_mobilenet_v3_large_320_fpn": partial(_mobilenet, short=320, long=640, top_k=150),
        "faster_rcnn_vgg16": _vgg16,
        "mask_rcnn_r18_fpn_gn": _small,
    }


# --- one function per body ---------------------------------------------------------------------------------------


def _fpn(family: Family, backbone: parts.ResNet) -> Config:
    """Detectron2's, 3x schedule. Keypoint R-CNN has one class; the 32x8d ResNeXt divides by the pixels' deviation."""
    std = _BGR_STD if backbone.groups == 32 else (1.0, 1.0, 1.0)
    model = schema.RCNN(
        num_classes=1 if family == "keypoint_rcnn" else 80,
        conventions=DETECTRON2,
        input=parts.Input(std=std, resize=_MULTI_SCALE),
        backbone=backbone,
        neck=parts.FPN(),
        proposals=fpn_proposals(family),
        box_head=family_box_head(family),
        mask_head=parts.MaskHead() if "mask" in family else None,
        keypoint_head=parts.KeypointHead() if family == "keypoint_rcnn" else None,
    )
    return Config(model=model, train=detectron_recipe(max_steps=270000, steps=(210000, 250000)))


def _c4(family: Family, backbone: parts.ResNet) -> Config:
    pooling = parts.Pooling(size=14, levels=("c4",))
    model = schema.RCNN(
        conventions=DETECTRON2,
        input=parts.Input(resize=_MULTI_SCALE, pad_to=1),
        backbone=backbone,
        neck=parts.NoNeck(level="c4"),
        anchors=_ONE_LEVEL_ANCHORS,
        proposals=one_level_proposals(),
        box_head=parts.BoxHead(features=parts.Res5Box(), pooling=pooling),
        mask_head=parts.MaskHead(features="box", convs=(), pooling=pooling) if family == "mask_rcnn" else None,
    )
    return Config(model=model, train=detectron_recipe(max_steps=270000, steps=(210000, 250000)))


def _dc5(family: Family, backbone: parts.ResNet) -> Config:
    model = schema.RCNN(
        conventions=DETECTRON2,
        input=parts.Input(resize=_MULTI_SCALE, pad_to=1),
        backbone=backbone.with_(dilated_c5=True),
        neck=parts.NoNeck(level="c5"),
        anchors=_ONE_LEVEL_ANCHORS,
        proposals=one_level_proposals(),
        box_head=parts.BoxHead(pooling=parts.Pooling(levels=("c5",))),
        mask_head=parts.MaskHead(pooling=parts.Pooling(size=14, levels=("c5",))) if family == "mask_rcnn" else None,
    )
    return Config(model=model, train=detectron_recipe(max_steps=270000, steps=(210000, 250000)))


def _fpn_gn(family: Family, depth: Literal[50, 101], *, scratch: bool = False) -> Config:
    norm = norms.GroupNorm()
    config = _fpn(family, parts.ResNet(depth=depth, norm=norm, frozen_stages=0 if scratch else 2))
    model = config.model
    assert isinstance(model, schema.RCNN)
    assert model.box_head is not None
    head = model.box_head.with_(features=parts.ConvFcBox(convs=(256,) * 4, fcs=(1024,), norm=norm))
    mask_head = model.mask_head and model.mask_head.with_(norm=norm)
    return config.with_(model=model.with_(neck=parts.FPN(norm=norm), box_head=head, mask_head=mask_head))


def _fpn_deformable(family: Family) -> Config:
    return _fpn(family, parts.ResNet(depth=50, stride_in_1x1=True, deformable=parts.Deformable()))


def _pafpn(family: Family) -> Config:
    """mmdetection's: RGB, stride in the 3x3, and its conventions."""
    model = schema.RCNN(
        conventions=MMDETECTION,
        input=rgb_input(parts.Resize(method="opencv")),
        backbone=parts.ResNet(depth=50, norm=norms.BatchNorm(statistics="eval")),
        neck=parts.PAFPN(),
        proposals=fpn_proposals(family),
        box_head=family_box_head(family),
        mask_head=parts.MaskHead() if family == "mask_rcnn" else None,
    )
    return Config(model=model, train=detectron_recipe(max_steps=90000, steps=(60000, 82500), warm_up=500))


def _fpn_v2(family: Family) -> Config:
    """torchvision's second version: batch norm in FPN and heads, 4 conv + 1 FC box head, two RPN convolutions."""
    norm = norms.BatchNorm()
    model = schema.RCNN(
        num_classes=90,
        conventions=TORCHVISION,
        input=rgb_input(parts.Resize(method="torch"), value_range=1),
        backbone=parts.ResNet(depth=50, norm=norm),
        neck=parts.FPN(norm=norm),
        proposals=torchvision_proposals(convs=2),
        box_head=torchvision_box_head(parts.ConvFcBox(convs=(256,) * 4, fcs=(1024,), norm=norm)),
        mask_head=parts.MaskHead(norm=norm, pooling=torchvision_pooling(14)) if family == "mask_rcnn" else None,
    )
    return Config(model=model, train=detectron_recipe(max_steps=90000, steps=(60000, 80000)))


def _efficientnet_c4(family: Family, variant: int) -> Config:
    config = _c4(family, _RESNETS["r50"])
    return _with_efficientnet(config, variant)


def _efficientnet_fpn(family: Family, variant: int) -> Config:
    config = _fpn(family, _RESNETS["r50"])
    return _with_efficientnet(config, variant)


def _mobilenet(*, short: int = 800, long: int = 1333, top_k: int = 1000) -> Config:
    model = schema.RCNN(
        num_classes=90,
        conventions=TORCHVISION,
        input=rgb_input(
            parts.Resize(method="torch", short_train=(short,), short_test=short, long_train=long, long_test=long), 1
        ),
        backbone=parts.MobileNetV3(),
        neck=parts.FPN(in_levels=("c5", "c6")),
        anchors=parts.Anchors(sizes=((32, 64, 128, 256, 512),) * 3),
        proposals=torchvision_proposals(top_k=top_k, score_threshold=0.05),
        box_head=torchvision_box_head(parts.ConvFcBox(), levels=("p5", "p6")),
    )
    return Config(model=model, train=detectron_recipe(max_steps=90000, steps=(60000, 80000)))


def _vgg16() -> Config:
    """Fast R-CNN's head of two layers of 4096 on RoIPool 7x7."""
    resize = parts.Resize(method="opencv_scaled", short_train=(600,), short_test=600, long_train=1000, long_test=1000)
    rpn = parts.RPN(
        conv_channels=(512,),
        matching=parts.Matching(positive_iou=0.7, negative_iou=0.3, low_quality=True, inside_border=0),
        pre_nms_top_k=parts.TrainTest(train=12000, test=6000),
        post_nms_top_k=parts.TrainTest(train=2000, test=1000),
        box_loss=losses.SmoothL1(beta=1 / 9),
    )
    head = parts.BoxHead(
        features=parts.ConvFcBox(fcs=(4096, 4096), dropout=0.5),
        pooling=parts.Pooling(kind="pool", size=7, levels=("c5",)),
        box_loss=losses.SmoothL1(beta=1.0),
    )
    conventions = DETECTRON.with_(proposal_clip="image")
    model = schema.RCNN(
        conventions=conventions,
        input=parts.Input(resize=resize, mean=(102.9801, 115.9465, 122.7717), pad_to=1),
        backbone=parts.VGG16(),
        neck=parts.NoNeck(level="c5"),
        anchors=_ONE_LEVEL_ANCHORS,
        proposals=rpn,
        box_head=head,
    )
    return Config(model=model, train=detectron_recipe(max_steps=90000, steps=(60000, 80000)))


def _retinanet(depth: Literal[50, 101]) -> Config:
    model = schema.RetinaNet(
        conventions=DETECTRON2,
        input=parts.Input(resize=_MULTI_SCALE),
        backbone=parts.ResNet(depth=depth, stride_in_1x1=True),
        anchors=retina_anchors(),
        box_loss=losses.SmoothL1(beta=0.0),
    )
    return Config(model=model, train=detectron_recipe(max_steps=270000, steps=(210000, 250000), lr=0.01))


def _retinanet_v2() -> Config:
    """torchvision's: P6 from P5, group norm in the head, GIoU."""
    model = schema.RetinaNet(
        num_classes=90,
        conventions=TORCHVISION,
        input=rgb_input(parts.Resize(method="torch"), value_range=1),
        backbone=parts.ResNet(depth=50, norm=norms.BatchNorm()),
        neck=parts.FPN(in_levels=("c3", "c4", "c5"), top="p6p7", top_input="c5"),
        anchors=retina_anchors(),
        head_norm=norms.GroupNorm(),
        box_loss=losses.IoULoss(kind="giou"),
        loss_average="per_image",
    )
    return Config(model=model, train=detectron_recipe(max_steps=90000, steps=(60000, 80000), lr=0.01))


def _rpn_fpn() -> Config:
    rpn = fpn_proposals("faster_rcnn").with_(post_nms_top_k=parts.TrainTest(train=1000, test=2000))
    config = _fpn("faster_rcnn", _RESNETS["r50"])
    return config.with_(model=config.model.with_(proposals=rpn, box_head=None))


def _rpn_c4() -> Config:
    rpn = parts.RPN(
        pre_nms_top_k=parts.TrainTest(train=12000, test=12000), post_nms_top_k=parts.TrainTest(train=2000, test=2000)
    )
    config = _c4("faster_rcnn", _RESNETS["r50"])
    return config.with_(model=config.model.with_(proposals=rpn, box_head=None))


def _fast_rcnn() -> Config:
    config = _fpn("faster_rcnn", _RESNETS["r50"])
    return config.with_(model=config.model.with_(proposals=parts.PrecomputedProposals()))


def _small() -> Config:
    """For small machines, and the model of the demo: ResNet-18, narrow FPN and heads, group norm, from scratch."""
    norm = norms.GroupNorm(groups=16)
    model = schema.RCNN(
        conventions=DETECTRON2,
        input=rgb_input(
            parts.Resize(method="opencv", short_train=(320,), short_test=320, long_train=512, long_test=512)
        ),
        backbone=parts.ResNet(depth=18, norm=norm, frozen_stages=0),
        neck=parts.FPN(channels=96, norm=norm),
        anchors=parts.Anchors(sizes=((16,), (32,), (64,), (128,), (256,))),
        proposals=parts.RPN(
            sampling=parts.Sampling(size=128, positive_fraction=0.5),
            pre_nms_top_k=parts.TrainTest(train=1000, test=500),
            post_nms_top_k=parts.TrainTest(train=500, test=300),
        ),
        box_head=parts.BoxHead(
            features=parts.ConvFcBox(convs=(96, 96), fcs=(256,), norm=norm),
            pooling=parts.Pooling(sampling_ratio=2, canonical_size=112),
            sampling=parts.Sampling(size=128, positive_fraction=0.25),
        ),
        mask_head=parts.MaskHead(
            convs=(96, 96),
            norm=norm,
            upsample_channels=96,
            pooling=parts.Pooling(size=14, sampling_ratio=2, canonical_size=112),
        ),
    )
    return Config(model=model, train=small_recipe())


def _with_efficientnet(config: Config, variant: int) -> Config:
    backbone = parts.EfficientNet(variant=variant, norm=norms.FrozenBatchNorm(eps=1e-3))
    return config.with_(model=config.model.with_(backbone=backbone, input=rgb_input(parts.Resize())))
