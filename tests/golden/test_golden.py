"""Recorded models give the original programs' numbers, stage by stage. The slow ones are left to `make test-all`."""

import pytest

from tests.golden.compare import Comparison
from tests.golden.recordings import Recording, recordings

# One model of each program in the fast suite; between them they cover masks, every convention set and a training step.
FAST_INFERENCE = (
    "detectron2__COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x",
    "torchvision__maskrcnn_resnet50_fpn",
    "mmdet__mask-rcnn_r50_fpn_1x_coco",
    "detectron_pytorch__e2e_mask_rcnn_R-50-FPN_1x",
)
FAST_TRAINING = ("detectron2__COCO-InstanceSegmentation__mask_rcnn_R_50_FPN_3x",)


def cases(fast: tuple[str, ...]) -> list:
    return [
        pytest.param(entry, id=entry.file.stem, marks=() if entry.file.stem in fast else pytest.mark.slow)
        for entry in recordings()
    ]


@pytest.mark.parametrize("recording", cases(FAST_INFERENCE))
def test_every_stage_of_inference_gives_the_recorded_numbers(recording: Recording):
    images = 1 if recording.file.stem in FAST_INFERENCE else 3
    assert [row for row in Comparison(recording).inference(images=images) if not row.passed] == []


@pytest.mark.parametrize("recording", cases(FAST_TRAINING))
def test_losses_and_gradients_are_the_recorded_ones(recording: Recording):
    assert [row for row in Comparison(recording).training() if not row.passed] == []
