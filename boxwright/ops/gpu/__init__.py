"""Triton kernels for CUDA devices, to the definitions in `ops/reference`; the same file names.

All sums are taken in float32 or better. Nothing here waits for the device: launches depend on shapes alone. No
tuning at run time: block sizes and warps are fixed, so that two runs launch the same kernels.

What is not here runs where its data lives. `paste_masks_rle`, `mask_iou` and all of the metric (`coco_match`,
`coco_resample`, `coco_runs`) work on run lengths and files in the host's memory, `resize` on pictures before they are
sent: all of that is the CPU's. Anchors and box encoding are a few passes of torch itself over small tensors on any
device.

With `TRITON_INTERPRET=1` set before Python starts, the same kernels run on the CPU in Triton's interpreter: slowly, for
tests.
"""
