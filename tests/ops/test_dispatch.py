"""Which backend runs: by device, or the one that is forced and no other."""

import threading

import pytest
import torch

from boxwright import ops
from boxwright.errors import BackendError
from boxwright.ops import dispatch
from tests.ops.cases import awkward_rois, random_boxes, random_index, random_maps


def call_all():
    """Each public op that has kernels, and the gradients of those that have one."""
    boxes, groups = random_boxes(6), random_index(6, 2)
    scores, rois, index = boxes[:, 0].sigmoid(), awkward_rois()[:6], random_index(6, 1)
    feature = random_maps((7, 7), batch=1)[0].requires_grad_()
    ops.box_iou(boxes, boxes)
    ops.generalized_box_iou(boxes, boxes)
    ops.nms(boxes, scores, groups, iou_threshold=0.5)
    ops.soft_nms(boxes, scores, groups)
    ops.box_voting(boxes, scores, boxes, scores)
    for pool in (ops.roi_align, ops.roi_pool, ops.roi_crop):
        pool([feature], rois, index, index, scales=[1.0], output_size=(2, 2)).sum().backward()
    ops.deform_conv2d(feature, torch.zeros(1, 2, 7, 7), torch.ones(1, 3, 1, 1)).sum().backward()
    ops.paste_masks(torch.ones(6, 4, 4), boxes, (9, 9))
    ops.paste_masks_rle(torch.ones(6, 4, 4), boxes, (9, 9))
    ops.rasterize_polygons([[[0, 0, 9, 0, 9, 9]]] * 6, boxes, size=4)


@pytest.fixture
def ran():
    """What has run since the test began."""
    dispatch._ran.clear()
    return ops.which_ran


@pytest.mark.parametrize(("forced", "expected"), [(None, "cpu"), ("cpu", "cpu"), ("reference", "reference")])
def test_all_ops_run_where_they_were_told(ran, forced, expected):
    with ops.use_backend(forced):
        call_all()
    assert ran() == dict.fromkeys(ops.OPS, expected)


def test_the_gradient_runs_where_the_op_did(ran):
    feature = random_maps((7, 7), batch=1)[0].requires_grad_()
    rois, index = awkward_rois(), random_index(12, 1)
    with ops.use_backend("reference"):
        pooled = ops.roi_align([feature], rois, index, index, scales=[1.0], output_size=(2, 2))
    pooled.sum().backward()
    assert ran() == {"roi_align": "reference", "roi_align_backward": "reference"}


def test_blocks_nest_and_end(ran):
    with ops.use_backend("reference"):
        with ops.use_backend(None):
            assert ops.backend_for("nms_keep").backend == "cpu"
        assert ops.backend_for("nms_keep").backend == "reference"
    with pytest.raises(ZeroDivisionError), ops.use_backend("reference"):
        _ = 1 / 0
    assert ops.backend_for("nms_keep").backend == "cpu"


def test_what_is_forced_can_be_asked():
    assert ops.forced_backend() is None
    with ops.use_backend("reference"):
        assert ops.forced_backend() == "reference"
        with ops.use_backend(None):
            assert ops.forced_backend() is None
    assert ops.forced_backend() is None


HOST_FILES = ["coco_match", "coco_resample", "coco_runs", "resize", "resize_normalised", "resize_runs"]


@pytest.mark.parametrize("file", HOST_FILES)
@pytest.mark.parametrize(
    ("forced", "expected"), [(None, "cpu"), ("cpu", "cpu"), ("gpu", "cpu"), ("reference", "reference")]
)
def test_the_host_s_own_work_leaves_its_kernels_for_the_definition_alone(file, forced, expected):
    with ops.use_backend(forced):
        assert dispatch.on_host(file).__name__ == f"boxwright.ops.{expected}.{file}"


def test_other_threads_are_left_alone():
    found = []
    with ops.use_backend("reference"):
        thread = threading.Thread(target=lambda: found.append(ops.backend_for("nms_keep").backend))
        thread.start()
        thread.join()
    assert found == ["cpu"]


def test_a_forced_backend_that_cannot_run_is_an_error_and_nothing_runs(ran, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    boxes = random_boxes(3)
    with (
        ops.use_backend("gpu"),
        pytest.raises(BackendError, match="box_iou: the gpu backend is forced, but the tensors are on 'cpu'"),
    ):
        ops.box_iou(boxes, boxes)
    assert ran() == {}


def test_the_cpu_backend_does_not_take_other_devices():
    with (
        ops.use_backend("cpu"),
        pytest.raises(BackendError, match=r"nms_keep: the cpu backend is forced, but .* 'cuda'"),
    ):
        ops.backend_for("nms_keep", "cuda:1")


def test_a_missing_kernel_is_an_error_when_forced_and_the_definition_otherwise(monkeypatch):
    monkeypatch.setitem(dispatch._FILE, "box_iou", "coco_runs")  # a file without that op
    monkeypatch.setattr(dispatch, "_choose", dispatch._choose.__wrapped__)
    real = dispatch._find
    monkeypatch.setattr(
        dispatch, "_find", lambda op, backend: (len, "") if backend == "reference" else real(op, backend)
    )
    with (
        ops.use_backend("cpu"),
        pytest.raises(BackendError, match=r"box_iou: .* cannot run: boxwright\.ops\.cpu\.coco_runs has no box_iou"),
    ):
        ops.backend_for("box_iou")
    choice = ops.backend_for("box_iou")
    assert choice.backend == "reference"
    assert "boxwright.ops.cpu.coco_runs has no box_iou" in choice.reason


def test_a_device_without_kernels_gets_the_definition():
    choice = ops.backend_for("roi_align", torch.device("meta"))
    assert choice.backend == "reference"
    assert choice.reason == "plain torch: no kernels for device type 'meta'"


def test_unknown_names_are_refused():
    with (
        pytest.raises(BackendError, match="unknown backend 'cuda'; expected one of reference, cpu, gpu"),
        ops.use_backend("cuda"),
    ):
        pass
    with pytest.raises(BackendError, match="unknown op 'iou'; expected one of box_iou"):
        ops.backend_for("iou")
