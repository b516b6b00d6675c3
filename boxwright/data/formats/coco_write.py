"""Annotations out as COCO JSON, and as LVIS v1 with the fields its tools insist on."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from boxwright.data.annotations import Annotations, Category, ObjectInfo
from boxwright.data.problems import Losses
from boxwright.geometry.keypoints import flip_pairs_from_names
from boxwright.geometry.masks import segment_area
from boxwright.json_file import write_json
from boxwright.types import Segment, Size


def write_coco(annotations: Annotations, path: Path, *, file_names: Sequence[str | None], lvis: bool = False) -> Losses:
    """`file_names[i]` is the new name of image i, None leaves it out with its objects. -> what had to be lost."""
    losses: Losses = Counter()
    content: dict[str, Any] = {**annotations.document, "images": [], "annotations": [], "categories": []}
    used_ids: set[int] = set()
    for index, file_name in enumerate(file_names):
        if file_name is None:
            continue
        image = annotations.image(index)
        key = _image_key(image.id, index)
        if key != image.id:
            losses["image names as ids (COCO's are numbers); file names keep them"] += 1
        height, width = image.size
        content["images"].append({**image.extra, "id": key, "file_name": file_name, "height": height, "width": width})
        for info in annotations.objects(index):
            content["annotations"].append(_object_entry(info, image.size, key, annotations.categories))
    _give_ids(content["annotations"], used_ids)
    if lvis:
        _add_lvis_fields(content, losses)
    content["categories"] = [_category_entry(category) for category in annotations.categories]
    if lvis:
        _add_lvis_counts(content)
    write_json(path, content)
    return losses


def _image_key(key: int | str, index: int) -> int:
    if isinstance(key, int):
        return key
    return int(key) if key.isdecimal() and not (key.startswith("0") and len(key) > 18) else index + 1


def _object_entry(info: ObjectInfo, size: Size, image_key: int, categories: Sequence[Category]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        **(info.extra or {}),
        "id": info.id,
        "image_id": image_key,
        "category_id": categories[info.label].id,
        "bbox": list(info.box_xywh),
        "area": object_area(info, size),
        "iscrowd": int(info.is_crowd),
        "segmentation": _plain_segment(info.segment),
    }
    for name, is_set in (("difficult", info.is_difficult), ("truncated", info.is_truncated)):
        if is_set:
            entry[name] = 1
    if info.keypoints is not None:
        entry["keypoints"] = [_short(value) for value in info.keypoints.reshape(-1).tolist()]
        entry["num_keypoints"] = int((info.keypoints[:, 2] > 0).sum())
    return entry


def object_area(info: ObjectInfo, size: Size) -> float:
    """As the file says, else of the mask, else of the box."""
    if info.area is not None:
        return info.area
    return segment_area(info.segment, size) if info.segment else info.box_xywh[2] * info.box_xywh[3]


def _plain_segment(segment: Segment | None) -> Any:
    """Lists of coordinates or run lengths, as JSON can hold them."""
    if segment is None:
        return []
    if isinstance(segment, list):
        return [[_short(value) for value in ring.tolist()] for ring in segment]
    return {"size": list(segment["size"]), "counts": segment["counts"].decode("ascii")}


def _short(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _give_ids(entries: list[dict[str, Any]], used: set[int]) -> None:
    """An object keeps its id where it has one and no object before it had the same."""
    largest = max((entry["id"] for entry in entries if entry["id"] is not None), default=0)
    for entry in entries:
        if entry["id"] is None or entry["id"] in used:
            largest += 1
            entry["id"] = largest
        used.add(entry["id"])


def _category_entry(category: Category) -> dict[str, Any]:
    entry: dict[str, Any] = {**(category.extra or {}), "id": category.id, "name": category.name}
    if category.supercategory:
        entry["supercategory"] = category.supercategory
    if category.keypoints:
        entry["keypoints"] = list(category.keypoints)
        entry["skeleton"] = [[a + 1, b + 1] for a, b in category.skeleton]
        if set(category.flip_pairs) != set(flip_pairs_from_names(category.keypoints)):
            entry["flip_pairs"] = [list(pair) for pair in category.flip_pairs]
    return entry


def _add_lvis_fields(content: dict[str, Any], losses: Losses) -> None:
    """Each image says which classes were looked for without success and which were not marked exhaustively."""
    for image in content["images"]:
        image.setdefault("neg_category_ids", [])
        image.setdefault("not_exhaustive_category_ids", [])
    kept = [entry for entry in content["annotations"] if not entry["iscrowd"]]
    losses["crowd regions (LVIS has none)"] += len(content["annotations"]) - len(kept)
    for entry in kept:
        del entry["iscrowd"]
    content["annotations"] = kept


def _add_lvis_counts(content: dict[str, Any]) -> None:
    images: dict[int, set[int]] = defaultdict(set)
    objects = Counter(entry["category_id"] for entry in content["annotations"])
    for entry in content["annotations"]:
        images[entry["category_id"]].add(entry["image_id"])
    for category in content["categories"]:
        category["image_count"] = len(images[category["id"]])
        category["instance_count"] = objects[category["id"]]
        category["frequency"] = _frequency(len(images[category["id"]]))
        category.setdefault("synonyms", [category["name"]])


def _frequency(num_images: int) -> str:
    """LVIS's own limits: rare up to 10 images, common up to 100, frequent above."""
    return "r" if num_images <= 10 else "c" if num_images <= 100 else "f"
