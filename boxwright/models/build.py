"""From settings to a model: with `build_body`, the only files that turn one into the other."""

from typing import assert_never

from boxwright.config import losses, parts, schema, testing
from boxwright.config.conventions import Conventions
from boxwright.models.anchors import Anchors
from boxwright.models.assignment import AnchorAssigner
from boxwright.models.box_coder import BoxCoder
from boxwright.models.box_head import BoxHead, ConvFcBoxHead, StageBoxHead
from boxwright.models.build_body import Body, build_body, build_norm, build_region_stage
from boxwright.models.cascade import BoxStage, BoxStages
from boxwright.models.keypoint_branch import KeypointBranch
from boxwright.models.keypoint_head import KeypointHead
from boxwright.models.losses import BoxLoss, ClassLoss
from boxwright.models.mask_branch import MaskBranch
from boxwright.models.mask_head import MaskHead
from boxwright.models.matching import Matcher
from boxwright.models.pooler import LevelRule, RegionPooler
from boxwright.models.proposals import GivenProposals, Limit, MinSize, ProposalSelector
from boxwright.models.rcnn import RCNN, Coordinates
from boxwright.models.regions import RegionLabeller
from boxwright.models.retinanet import DenseDecoder, DenseLoss, RetinaNet, RetinaNetHead
from boxwright.models.rpn import RPN, RPNHead, RPNLoss
from boxwright.models.sampling import Sampler
from boxwright.models.select import DetectionSelector


def build_model(
    model: schema.Model, test: testing.Selection, *, checkpoint_activations: bool = False
) -> RCNN | RetinaNet:
    """A model with fresh weights. `checkpoint_activations` trades time for memory in the backbone while training."""
    match model:
        case schema.RCNN():
            return _build_rcnn(model, test, checkpoint_activations)
        case schema.RetinaNet():
            return _build_retinanet(model, test, checkpoint_activations)
    assert_never(model)


def _build_rcnn(model: schema.RCNN, test: testing.Selection, checkpoint: bool) -> RCNN:
    conventions = model.conventions
    body = build_body(model.backbone, model.neck, conventions, checkpoint=checkpoint)
    box = None if model.box_head is None else _build_boxes(model, model.box_head, body, checkpoint)
    return RCNN(
        backbone=body.backbone,
        neck=body.neck,
        proposals=_build_proposals(model, body),
        box=box,
        mask=None if model.mask_head is None else _build_masks(model, model.mask_head, box, body, checkpoint),
        keypoint=None if model.keypoint_head is None else _build_keypoints(model, model.keypoint_head, body),
        select=build_selector(model, test),
        coordinates=Coordinates(
            pad_to=model.input.pad_to,
            box_offset=float(conventions.box_offset),
            keypoint_offset=conventions.keypoint_offset,
        ),
    )


# --- proposals ---------------------------------------------------------------------------------------------------


def _build_proposals(model: schema.RCNN, body: Body) -> RPN | GivenProposals:
    match model.proposals:
        case parts.RPN():
            return _build_rpn(model.proposals, model.anchors, model.conventions, body)
        case parts.PrecomputedProposals():
            return GivenProposals(
                top_k=_limit(model.proposals.top_k),
                min_size=model.proposals.min_size,
                offset=float(model.conventions.box_offset),
            )
    assert_never(model.proposals)


def _build_rpn(rpn: parts.RPN, anchors: parts.Anchors, conventions: Conventions, body: Body) -> RPN:
    in_channels = body.channels_of(list(body.strides), where="rpn")
    coder = _build_coder(rpn.box_weights, conventions)
    placed = _build_anchors(anchors, conventions, body)
    return RPN(
        head=RPNHead(
            in_channels=in_channels,
            conv_channels=[in_channels if channels == -1 else channels for channels in rpn.conv_channels],
            two_logits=rpn.score == "softmax",
            num_anchors=placed.per_cell,
        ),
        anchors=placed,
        select=ProposalSelector(
            coder=coder,
            pre_nms_top_k=_limit(rpn.pre_nms_top_k),
            post_nms_top_k=_limit(rpn.post_nms_top_k),
            post_nms_top_k_level=None if rpn.post_nms_top_k_level is None else _limit(rpn.post_nms_top_k_level),
            nms_iou=rpn.nms_iou,
            nms_inclusive=conventions.nms_inclusive,
            score_threshold=rpn.score_threshold,
            min_size=MinSize(side=rpn.min_size, rule=conventions.proposal_min_size, offset=coder.offset),
            per_batch=conventions.proposal_top_k == "batch",
            clips_to_padding=conventions.proposal_clip == "padded",
        ),
        training_loss=RPNLoss(
            coder=coder,
            assigner=_build_assigner(rpn.matching, conventions),
            sampler=Sampler(
                size=rpn.sampling.size,
                positive_fraction=rpn.sampling.positive_fraction,
                kind=rpn.sampling.kind,
                detectron_anchors=conventions.rpn_sampling == "detectron",
            ),
            box_loss=_build_box_loss(rpn.box_loss),
            class_weight=rpn.class_loss_weight,
            class_average=conventions.rpn_class_average,
            box_average=conventions.rpn_box_average,
        ),
    )


def _build_anchors(anchors: parts.Anchors, conventions: Conventions, body: Body) -> Anchors:
    return Anchors(
        strides=body.strides,
        sizes=anchors.sizes,
        aspect_ratios=anchors.aspect_ratios,
        offset=anchors.offset,
        rounding=conventions.anchor_rounding,
        order=conventions.anchor_order,
        measure_strides=conventions.anchor_stride == "measured",
    )


def _build_matcher(matching: parts.Matching, conventions: Conventions) -> Matcher:
    return Matcher(
        positive_iou=matching.positive_iou,
        negative_iou=matching.negative_iou,
        negative_iou_low=matching.negative_iou_low,
        low_quality=matching.low_quality,
        low_quality_iou=matching.low_quality_iou,
        low_quality_owner=conventions.low_quality_matches,
        offset=float(conventions.box_offset),
    )


def _build_assigner(matching: parts.Matching, conventions: Conventions) -> AnchorAssigner:
    return AnchorAssigner(
        matcher=_build_matcher(matching, conventions),
        inside_border=matching.inside_border,
        only_inside_padding=conventions.anchor_area == "padded",
        outside_absent=conventions.outside_anchors == "absent",
        crowd_share=matching.crowd_share,
    )


def _build_coder(weights: parts.BoxWeights, conventions: Conventions) -> BoxCoder:
    return BoxCoder(
        weights=weights,
        offset=float(conventions.box_offset),
        clips_both_sides=conventions.delta_clip == "both",
    )


def _limit(numbers: parts.TrainTest) -> Limit:
    return Limit(train=numbers.train, test=numbers.test)


# --- heads -------------------------------------------------------------------------------------------------------


BoxPart = tuple[BoxStages, list[BoxHead]]


def _build_boxes(model: schema.RCNN, head: parts.BoxHead, body: Body, checkpoint: bool) -> BoxPart:
    conventions = model.conventions
    stages = _build_stages(model, head)
    how = BoxStages(
        stages=stages,
        pooler=_build_pooler(head.pooling, conventions, body, where="box_head.pooling.levels"),
        labeller=RegionLabeller(
            ground_truth=conventions.ground_truth_proposals if head.use_ground_truth else "none",
            crowds_claim=conventions.crowd_regions == "claiming",
            crowd_share=head.matching.crowd_share,
            in_original=conventions.region_frame == "original",
            offset=float(conventions.box_offset),
        ),
        sampler=Sampler(
            size=head.sampling.size,
            positive_fraction=head.sampling.positive_fraction,
            kind=head.sampling.kind,
            rounds_positives=conventions.positive_count == "round",
        ),
        class_loss=_build_class_loss(head.class_loss),
        box_loss=_build_box_loss(head.box_loss),
        num_classes=model.num_classes,
        frame=conventions.region_frame,
        averages_logits=conventions.cascade_average == "logits",
        resamples=conventions.cascade_resample,
        scales_gradient=conventions.cascade_scale_gradient,
    )
    return how, [_build_box_head(model, head, body, checkpoint) for _ in stages]


def _build_stages(model: schema.RCNN, head: parts.BoxHead) -> list[BoxStage]:
    def stage(weights: parts.BoxWeights, matching: parts.Matching, loss_weight: float) -> BoxStage:
        return BoxStage(
            coder=_build_coder(weights, model.conventions),
            matcher=_build_matcher(matching, model.conventions),
            loss_weight=loss_weight,
        )

    if not head.cascade:
        return [stage(head.box_weights, head.matching, 1.0)]
    return [
        stage(
            one.box_weights,
            head.matching.with_(positive_iou=one.positive_iou, negative_iou=one.positive_iou),
            one.loss_weight,
        )
        for one in head.cascade
    ]


def _build_box_head(model: schema.RCNN, head: parts.BoxHead, body: Body, checkpoint: bool) -> BoxHead:
    match head.features:
        case parts.Res5Box():
            return StageBoxHead(
                stage=build_region_stage(model.backbone, pooled_size=head.pooling.size, checkpoint=checkpoint),
                num_classes=model.num_classes,
                class_agnostic=head.class_agnostic,
            )
        case parts.ConvFcBox():
            return ConvFcBoxHead(
                in_channels=body.channels_of(head.pooling.levels, where="box_head.pooling.levels"),
                pooled_size=head.pooling.size,
                conv_channels=head.features.convs,
                fc_features=head.features.fcs,
                norm=build_norm(head.features.norm),
                dropout=head.features.dropout,
                num_classes=model.num_classes,
                class_agnostic=head.class_agnostic,
            )
    assert_never(head.features)


def _build_pooler(pooling: parts.Pooling, conventions: Conventions, body: Body, *, where: str) -> RegionPooler:
    body.check_levels(pooling.levels, where=where)
    return RegionPooler(
        levels=pooling.levels,
        strides=[body.strides[level] for level in pooling.levels],
        size=pooling.size,
        kind=pooling.kind,
        sampling_ratio=pooling.sampling_ratio,
        aligned=pooling.aligned,
        level_rule=LevelRule(
            canonical_size=pooling.canonical_size,
            canonical_level=pooling.canonical_level,
            epsilon=conventions.level_epsilon,
            epsilon_inside=conventions.level_epsilon_place == "inside",
            offset=float(conventions.box_offset),
        ),
    )


def _build_masks(
    model: schema.RCNN, head: parts.MaskHead, box: BoxPart | None, body: Body, checkpoint: bool
) -> tuple[MaskBranch, list[MaskHead]]:
    assert model.box_head is not None  # checked by the settings
    assert box is not None
    boxes, box_heads = box
    shared = box_heads[0] if head.features == "box" else None
    assert shared is None or isinstance(shared, StageBoxHead)
    pooling = model.box_head.pooling if shared is not None else head.pooling
    stages = boxes.stages if head.per_stage else boxes.stages[:1]
    how = MaskBranch(
        pooler=_build_pooler(pooling, model.conventions, body, where="mask_head.pooling.levels"),
        reads_box_head=shared is not None,
        targets=model.conventions.mask_targets,
        num_classes=model.num_classes,
        loss_weight=head.loss_weight,
        stage_weights=[stage.loss_weight for stage in stages],
    )
    return how, [_build_mask_head(model, head, shared, body, checkpoint) for _ in stages]


def _build_mask_head(
    model: schema.RCNN, head: parts.MaskHead, shared: StageBoxHead | None, body: Body, checkpoint: bool
) -> MaskHead:
    stage = None
    if shared is None and head.res5:
        stage = build_region_stage(model.backbone, pooled_size=head.pooling.size, checkpoint=checkpoint)
    levels = head.pooling.levels
    return MaskHead(
        in_channels=shared.c5.out_channels
        if shared is not None
        else body.channels_of(levels, where="mask_head.pooling.levels"),
        stage=stage,
        conv_channels=head.convs,
        dilation=head.dilation,
        norm=build_norm(head.norm),
        upsample=head.upsample,
        upsample_channels=head.upsample_channels,
        enlarge_by=head.enlarge,
        enlarge_by_kernel=model.conventions.bilinear_upsampling == "deconvolved",
        num_classes=model.num_classes,
        class_agnostic=head.class_agnostic,
    )


def _build_keypoints(model: schema.RCNN, head: parts.KeypointHead, body: Body) -> tuple[KeypointBranch, KeypointHead]:
    assert model.box_head is not None  # checked by the settings
    sampling = model.box_head.sampling
    how = KeypointBranch(
        pooler=_build_pooler(head.pooling, model.conventions, body, where="keypoint_head.pooling.levels"),
        num_classes=model.num_classes,
        loss_weight=head.loss_weight,
        loss_average=head.loss_average,
        min_visible=head.min_visible,
        full_sample=sampling.size * sampling.positive_fraction,
        samples_anew=model.conventions.keypoint_regions == "all",
    )
    return how, KeypointHead(
        in_channels=body.channels_of(head.pooling.levels, where="keypoint_head.pooling.levels"),
        conv_channels=head.convs,
        kernel_size=head.kernel,
        hidden_deconv=head.hidden_deconv,
        deconv=head.deconv,
        deconv_kernel=head.deconv_kernel,
        enlarge_by=head.upsample,
        enlarge_by_kernel=model.conventions.bilinear_upsampling == "deconvolved",
        num_keypoints=head.num_keypoints,
    )


# --- losses and selection ----------------------------------------------------------------------------------------


def _build_class_loss(loss: losses.ClassLoss) -> ClassLoss:
    if isinstance(loss, losses.Focal):
        return ClassLoss(kind=loss.kind, weight=loss.weight, alpha=loss.alpha, gamma=loss.gamma)
    return ClassLoss(kind=loss.kind, weight=loss.weight)


def _build_box_loss(loss: losses.BoxLoss) -> BoxLoss:
    if isinstance(loss, losses.SmoothL1):
        return BoxLoss(kind=loss.kind, weight=loss.weight, beta=loss.beta)
    return BoxLoss(kind=loss.kind, weight=loss.weight)


def build_selector(model: schema.Model, test: testing.Selection) -> DetectionSelector:
    """What the settings for tests say of a model: which of its candidates are detections."""
    conventions = model.conventions
    return DetectionSelector(
        score_threshold=test.score_threshold,
        min_size=conventions.detection_min_size,
        nms=test.nms,
        nms_iou=test.nms_iou,
        sigma=test.nms_sigma,
        soft_min_score=test.soft_min_score,
        class_agnostic=test.nms_class_agnostic,
        inclusive=conventions.nms_inclusive,
        offset=float(conventions.box_offset),
        voting_iou=test.box_voting_iou,
        voting_scoring=test.box_voting_scoring,
        max_detections=test.max_detections,
        num_classes=model.num_classes,
    )


def _build_retinanet(model: schema.RetinaNet, test: testing.Selection, checkpoint: bool) -> RetinaNet:
    conventions = model.conventions
    body = build_body(model.backbone, model.neck, conventions, checkpoint=checkpoint)
    anchors = _build_anchors(model.anchors, conventions, body)
    coder = _build_coder(model.box_weights, conventions)
    return RetinaNet(
        backbone=body.backbone,
        neck=body.neck,
        head=RetinaNetHead(
            in_channels=body.channels_of(list(body.strides), where="neck"),
            conv_channels=model.convs,
            norm=build_norm(model.head_norm),
            num_anchors=anchors.per_cell,
            num_classes=model.num_classes,
            prior_probability=model.prior_probability,
        ),
        anchors=anchors,
        decode=DenseDecoder(
            coder=coder,
            pre_nms_top_k=model.pre_nms_top_k,
            clips_before_nms=conventions.dense_clip == "before_nms",
            in_original=conventions.region_frame != "network",
        ),
        select=build_selector(model, test),
        training_loss=DenseLoss(
            coder=coder,
            assigner=_build_assigner(model.matching, conventions),
            class_loss=_build_class_loss(model.class_loss),
            box_loss=_build_box_loss(model.box_loss),
            average=model.loss_average,
        ),
        pad_to=model.input.pad_to,
    )
