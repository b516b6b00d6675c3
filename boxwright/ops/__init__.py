"""The operations of the detector. Each has one definition in plain torch and, where it pays, kernels that match it.

Public names take tensors first and settings by keyword. They run under `torch.compile`, `torch.export` and autocast.
`use_backend` forces an implementation, `backend_for` and `which_ran` say which one is used and why.
"""

from boxwright.ops.box_coding import anchor_grid, decode_boxes, encode_boxes
from boxwright.ops.deformable import deform_conv2d
from boxwright.ops.dispatch import BACKENDS, OPS, BackendChoice, backend_for, forced_backend, use_backend, which_ran
from boxwright.ops.masks import paste_masks, paste_masks_rle
from boxwright.ops.outlines import Outlines, rasterize_outlines, rasterize_polygons
from boxwright.ops.overlap import box_iou, generalized_box_iou, mask_iou
from boxwright.ops.pooling import roi_align, roi_crop, roi_pool
from boxwright.ops.suppression import box_voting, nms, nms_keep, soft_nms, soft_nms_keep

__all__ = [
    "BACKENDS",
    "OPS",
    "BackendChoice",
    "Outlines",
    "anchor_grid",
    "backend_for",
    "box_iou",
    "box_voting",
    "decode_boxes",
    "deform_conv2d",
    "encode_boxes",
    "forced_backend",
    "generalized_box_iou",
    "mask_iou",
    "nms",
    "nms_keep",
    "paste_masks",
    "paste_masks_rle",
    "rasterize_outlines",
    "rasterize_polygons",
    "roi_align",
    "roi_crop",
    "roi_pool",
    "soft_nms",
    "soft_nms_keep",
    "use_backend",
    "which_ran",
]
