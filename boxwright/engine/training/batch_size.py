"""train.batch=auto: the largest batch that a GPU's memory holds."""

from collections.abc import Callable

import torch
from torch import Tensor

from boxwright.config import Config, schema
from boxwright.data.network_input import padded_size
from boxwright.engine.detector import Detector
from boxwright.engine.distributed import World
from boxwright.engine.training.learner import Learner
from boxwright.errors import ConfigError, TrainingError
from boxwright.types import Batch, Masks, Size, Target

MOST = 512
SPARE = 0.9  # of the batch that fits: images of other shapes fragment the memory
OBJECTS = 50


def largest_batch(config: Config, *, device: torch.device, world: World) -> int:
    """Images over all processes, found by real steps on images of the largest size of training."""
    if device.type != "cuda":
        raise ConfigError("train.batch=auto measures the memory of a GPU, and there is none; give a number")

    def fits(count: int) -> bool:
        try:
            _try_step(config, count, device)
        except TrainingError as error:
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                return False
            raise
        except torch.OutOfMemoryError:
            return False
        finally:
            torch.cuda.empty_cache()
        return True

    found = largest_that_fits(fits, most=MOST)
    if found == 0:
        raise TrainingError("not even one image fits into the GPU's memory; lower model.input.resize.short_train")
    return max(int(found * SPARE), 1) * world.size


def largest_that_fits(fits: Callable[[int], bool], *, most: int) -> int:
    """The largest number up to `most` that fits, 0 if 1 does not: doubled until one does not, then halved between."""
    good, bad = 0, 1
    while bad <= most and fits(bad):
        good, bad = bad, bad * 2
    bad = min(bad, most + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _try_step(config: Config, count: int, device: torch.device) -> None:
    train = config.train.with_(batch=count, accumulate=1)
    detector = Detector(config=config, device=device, precision=train.precision)
    Learner(detector=detector, train=train, world=World()).step([_full_batch(config, count, device)], 0)


def _full_batch(config: Config, count: int, device: torch.device) -> Batch:
    """Images of the largest size with many large objects, which have all that the model may learn."""
    size = largest_size(config)
    height, width = size
    corners = torch.rand(OBJECTS, 2) * torch.tensor([width / 2, height / 2])
    boxes = torch.cat([corners, corners + torch.tensor([width / 3, height / 3])], dim=1)
    rings = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].double().numpy()
    target = Target(
        boxes=boxes,
        labels=torch.zeros(OBJECTS, dtype=torch.int64),
        size=size,
        masks=Masks([[ring] for ring in rings], size),
        keypoints=_points_inside(boxes, config.model),
    )
    padded = padded_size([size], divisibility=config.model.input.pad_to)
    images = torch.zeros(count, 3, *padded, device=device)
    return Batch(images, [size] * count, [size] * count, [(1.0, 1.0)] * count, [target] * count)


def largest_size(config: Config) -> Size:
    """Of the images of training: jittered ones are all cropped to one; high and wide ones may be padded together."""
    augment, resize = config.data.augment, config.model.input.resize
    if augment.scale_jitter and augment.crop:
        return augment.crop
    long = max(resize.long_train, max(resize.short_train))
    return (max(resize.short_train) if config.data.aspect_grouping else long), long


def _points_inside(boxes: Tensor, model: schema.Model) -> Tensor | None:
    """(N, 4) -> (N, K, 3): every keypoint in the middle of its box; None for a model that finds none."""
    if not isinstance(model, schema.RCNN) or model.keypoint_head is None:
        return None
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    points = torch.cat([centres, torch.full((len(boxes), 1), 2.0)], dim=1)
    return points[:, None].repeat(1, model.keypoint_head.num_keypoints, 1)
