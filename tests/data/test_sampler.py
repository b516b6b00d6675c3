"""The order of training: each image once an epoch over all ranks, resumed at the very next sample."""

import json
from itertools import islice

import numpy as np
import pytest

from boxwright.data.formats.reading import read_dataset
from boxwright.data.sampler import EvaluationSampler, TrainingSampler
from boxwright.data.selection import aspect_groups, repeat_factors, select_images
from boxwright.errors import ConfigError, DatasetError


def taken(sampler, batches):
    return [draw for batch in islice(sampler, batches) for draw in batch]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_holds_each_image_once_over_all_ranks(world_size):
    batch = 12 // world_size
    ranks = [TrainingSampler(24, batch=batch, seed=5, rank=rank, world_size=world_size) for rank in range(world_size)]
    draws = [draw for rank in ranks for draw in taken(rank, 2)]
    assert sorted(position for _, position in draws) == list(range(24))
    assert sorted(serial for serial, _ in draws) == list(range(24))


def test_the_stream_is_the_same_for_any_number_of_ranks():
    alone = taken(TrainingSampler(10, batch=4, seed=1), 6)
    ranks = [TrainingSampler(10, batch=2, seed=1, rank=rank, world_size=2) for rank in range(2)]
    batches = zip(*(islice(rank, 6) for rank in ranks), strict=True)
    assert [draw for parts in batches for part in parts for draw in part] == alone


def test_epochs_differ_and_seeds_differ():
    first = taken(TrainingSampler(30, batch=30, seed=0), 2)
    assert first[:30] != first[30:]
    assert sorted(position for _, position in first[30:]) == list(range(30))
    assert taken(TrainingSampler(30, batch=30, seed=1), 1) != first[:30]


@pytest.mark.parametrize("stop", [0, 1, 4, 7, 23])
def test_a_resumed_order_goes_on_at_the_very_next_sample(stop):
    options = {
        "batch": 3,
        "seed": 2,
        "groups": np.arange(17) % 2,
        "repeats": np.linspace(1, 2.5, 17),
    }
    whole = taken(TrainingSampler(17, **options), 40)
    first = TrainingSampler(17, **options)
    begun = taken(first, stop)
    state = json.loads(json.dumps(first.state_dict()))  # as a checkpoint holds it
    second = TrainingSampler(17, **options)
    second.load_state_dict(state)
    assert begun + taken(second, 40 - stop) == whole


def test_ranks_may_change_when_resuming():
    whole = taken(TrainingSampler(20, batch=4, seed=3), 8)
    first = TrainingSampler(20, batch=4, seed=3)
    taken(first, 3)
    ranks = [TrainingSampler(20, batch=2, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(first.state_dict())
    parts = zip(*(islice(rank, 5) for rank in ranks), strict=True)
    assert [draw for pair in parts for part in pair for draw in part] == whole[12:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "cannot resume the order of samples: seed was 0, now 1"),
        ({"batch": 3}, "global_batch was 2, now 3"),
        ({"num_images": 9}, "num_images was 8, now 9"),
    ],
)
def test_another_order_cannot_be_resumed(options, message):
    state = TrainingSampler(8, batch=2, seed=0).state_dict()
    changed = {"num_images": 8, "batch": 2, "seed": 0} | options
    with pytest.raises(ConfigError, match=message):
        TrainingSampler(changed.pop("num_images"), **changed).load_state_dict(state)


@pytest.mark.parametrize(("images", "batch", "rank"), [(0, 1, 0), (3, 0, 0), (3, 1, 1)])
def test_an_impossible_order_is_refused(images, batch, rank):
    with pytest.raises(ConfigError, match=f"cannot sample {images} images in batches of {batch} for rank {rank} of 1"):
        TrainingSampler(images, batch=batch, seed=0, rank=rank)


def test_a_batch_holds_one_group_and_no_image_is_lost():
    groups = (np.arange(21) % 3 == 0).astype(np.int64)
    sampler = TrainingSampler(21, batch=4, seed=0, groups=groups)
    batches = list(islice(sampler, 21 * 4 // 4))
    assert all(len({groups[position] for _, position in batch}) == 1 for batch in batches)
    serials = [serial for batch in batches for serial, _ in batch]
    assert len(set(serials)) == len(serials)
    waiting = sum(len(draws) for draws in sampler.state_dict()["waiting"].values())
    assert max(serials) < len(serials) + waiting + 1


def test_repeats_are_right_on_average():
    repeats = np.array([1.0, 1.0, 2.5, 1.25])
    draws = taken(TrainingSampler(4, batch=1, seed=0, repeats=repeats), 5750)
    counts = np.bincount([position for _, position in draws], minlength=4) / 1000
    np.testing.assert_allclose(counts, repeats, rtol=0.05)


@pytest.mark.parametrize(("images", "world_size", "batch"), [(0, 1, 2), (1, 2, 1), (10, 3, 2), (7, 4, 3)])
def test_evaluation_takes_each_image_once(images, world_size, batch):
    samplers = [EvaluationSampler(images, batch=batch, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [one for sampler in samplers for one in sampler]
    assert [position for one in batches for _, position in one] == list(range(images))
    assert sum(len(sampler) for sampler in samplers) == len(batches)
    assert all(1 <= len(one) <= batch for one in batches)


@pytest.fixture
def mixed(coco_folder):
    """Image a: a dog with three keypoints and a crowd of cats; b: a cat with one; c: nothing."""

    def change(content):
        content["images"].append({"id": 11, "file_name": "c.png", "height": 20, "width": 20})
        content["categories"][1]["keypoints"] = ["nose", "tail", "paw"]
        content["annotations"][0]["keypoints"] = [1, 1, 2, 0, 0, 0, 0, 0, 0]
        content["annotations"][1]["keypoints"] = [1, 1, 2, 2, 2, 1, 3, 3, 2]

    return read_dataset(coco_folder(change))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1]),
        ({"only_with_objects": False}, [0, 1, 2]),
        ({"min_keypoints": 1}, [0, 1]),
        ({"min_keypoints": 2}, [0]),
        ({"min_keypoints": 4}, []),
        ({"classes": ["cat"]}, [1]),  # the crowd of cats does not count
        ({"classes": ["dog"], "only_with_objects": False}, [0]),
    ],
)
def test_images_are_chosen_by_what_is_on_them(options, expected, mixed):
    assert select_images(mixed, **options).tolist() == expected


def test_a_class_that_is_not_there_is_named(mixed):
    with pytest.raises(DatasetError, match="has no class 'cow'"):
        select_images(mixed, classes=["cow"])


def test_wide_and_high_images_are_two_groups(mixed):
    assert aspect_groups(mixed, np.arange(3)).tolist() == [0, 1, 1]


def test_images_with_rare_classes_are_repeated_as_lvis_does_it(coco_folder):
    def change(content):
        content["images"] += [{"id": 20 + k, "file_name": "b.png", "height": 50, "width": 30} for k in range(2)]
        content["annotations"] += [
            {**content["annotations"][0], "id": 40 + k, "image_id": 20 + k, "segmentation": []} for k in range(2)
        ]
        content["annotations"] = [entry for entry in content["annotations"] if not entry["iscrowd"]]

    annotations = read_dataset(coco_folder(change))
    # Cats are on 3 of 4 images, dogs on one: max(1, sqrt(0.5 / 0.25)) for the image with the dog.
    factors = repeat_factors(annotations, np.arange(4), share=0.5)
    np.testing.assert_allclose(factors, [np.sqrt(2), 1, 1, 1])
