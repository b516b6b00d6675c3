"""Pascal VOC: one XML file an image, boxes only, splits as lists of names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from boxwright.data.annotations import Annotations, Category, ImageInfo, ObjectInfo
from boxwright.data.formats.builder import AnnotationsBuilder
from boxwright.data.image import image_size, is_possible
from boxwright.data.image_files import find_by_stem
from boxwright.data.problems import Losses, Problems
from boxwright.errors import DatasetError, ImageError
from boxwright.files import MOST_OF_LABELS, MOST_OF_LIST, atomic_write, read_bytes, read_text
from boxwright.types import Size


def read_voc(root: Path, *, folders: Sequence[Path], split: str | None) -> Annotations:
    """`folders` hold Annotations/, JPEGImages/ and ImageSets/Main/; file names are relative to `root`.

    Classes are those of all XML files, in alphabetical order, so that every split numbers them alike. With `split`
    None every file is read.
    """
    problems, builder = Problems(), AnnotationsBuilder()
    names = sorted({name for folder in folders for name in _class_names(folder)})
    labels = {name: label for label, name in enumerate(names)}
    for folder in folders:
        for stem in _split_stems(folder, split):
            _read_file(root, folder, stem, labels, builder, problems)
    return builder.build(
        source=str(root),
        image_root=str(root),
        categories=[Category(name, label + 1) for label, name in enumerate(names)],
        problems=problems,
        format="voc",
    )


def splits_of(folder: Path) -> list[str]:
    """Names of the lists in ImageSets/Main that are splits and not one class's list, such as dog_train."""
    stems = sorted(path.stem for path in (folder / "ImageSets" / "Main").glob("*.txt"))
    return [stem for stem in stems if not stem.endswith(("_train", "_val", "_trainval", "_test"))]


def _split_stems(folder: Path, split: str | None) -> list[str]:
    if split is None:
        return sorted(path.stem for path in (folder / "Annotations").glob("*.xml"))
    path = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = read_text(path, error=DatasetError, most=MOST_OF_LIST).splitlines()
    except DatasetError as error:
        raise DatasetError(f"the list of the split {split!r}: {error}") from error
    return [_stem_of_line(folder, line.strip()) for line in lines if line.strip()]


def _stem_of_line(folder: Path, line: str) -> str:
    """The name, which may hold spaces, or the first word where a flag follows, as in the lists of one class."""
    return line if (folder / "Annotations" / f"{line}.xml").exists() else line.split()[0]


def _class_names(folder: Path) -> set[str]:
    names = set()
    for path in (folder / "Annotations").glob("*.xml"):
        try:
            names |= {_text(entry, "name") for entry in _parse(path).iter("object")}
        except (DatasetError, KeyError):  # the file is met again, and named, when its split is read
            continue
    return names


def _read_file(
    root: Path,
    folder: Path,
    stem: str,
    labels: Mapping[str, int],
    builder: AnnotationsBuilder,
    problems: Problems,
) -> None:
    path = folder / "Annotations" / f"{stem}.xml"
    if not path.exists():
        problems.add("missing_annotation", str(path), "the split names it")
        return
    try:
        tree = _parse(path)
        picture = _picture(folder, tree, stem)
        size = _size(tree, picture)
    except (DatasetError, ImageError, KeyError, ValueError) as error:
        problems.add("malformed_image", str(path), str(error))
        return
    image = builder.add_image(ImageInfo(stem, str(picture.relative_to(root)), size))
    for index, entry in enumerate(tree.iter("object")):
        try:
            builder.add_object(image, _read_object(entry, labels))
        except (KeyError, ValueError) as error:
            problems.add("malformed_object", f"{path}: object[{index}]", str(error), image=image)


def _read_object(entry: ElementTree.Element, labels: Mapping[str, int]) -> ObjectInfo:
    box = entry.find("bndbox")
    if box is None:
        raise KeyError("no bndbox")
    # VOC counts pixels from 1 and both ends belong to the box: 1..W covers 0..W here.
    x1, y1 = float(_text(box, "xmin")) - 1, float(_text(box, "ymin")) - 1
    x2, y2 = float(_text(box, "xmax")), float(_text(box, "ymax"))
    return ObjectInfo(
        label=labels[_text(entry, "name")],
        box_xywh=(x1, y1, x2 - x1, y2 - y1),
        is_difficult=_flag(entry, "difficult"),
        is_truncated=_flag(entry, "truncated"),
    )


def _parse(path: Path) -> ElementTree.Element:
    data = read_bytes(path, error=DatasetError, most=MOST_OF_LABELS)
    if b"<!ENTITY" in data:  # nothing an annotation needs, and a few of them can grow to gigabytes
        raise DatasetError(f"{path} defines XML entities; remove them")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise DatasetError(f"{path} is not XML: {error}") from error


def _picture(folder: Path, tree: ElementTree.Element, stem: str) -> Path:
    """By the XML's own name first, else any picture with the stem; where neither exists, the name it should have."""
    pictures = folder / "JPEGImages"
    named = tree.findtext("filename") or f"{stem}.jpg"
    by_name = pictures / Path(named.replace("\\", "/")).name
    if by_name.suffix and by_name.exists():
        return by_name
    return find_by_stem(pictures, stem) or pictures / f"{stem}.jpg"


def _size(tree: ElementTree.Element, picture: Path) -> Size:
    entry = tree.find("size")
    if entry is None:
        return image_size(picture)
    height, width = int(float(_text(entry, "height"))), int(float(_text(entry, "width")))
    if height <= 0 or width <= 0:
        return image_size(picture)
    if not is_possible((height, width)):
        raise ValueError(f"height {height}, width {width}")
    return height, width


def _text(entry: ElementTree.Element, name: str) -> str:
    text = (entry.findtext(name) or "").strip()
    if not text:
        raise KeyError(f"no {name}")
    return text


def _flag(entry: ElementTree.Element, name: str) -> bool:
    return (entry.findtext(name) or "0").strip() == "1"


def write_voc(annotations: Annotations, out: Path, *, split: str, file_names: Sequence[str | None]) -> Losses:
    """XML beside `out`/JPEGImages, where `file_names` lie; the split's list. -> what VOC has no place for."""
    losses: Losses = Counter()
    stems = []
    for index, file_name in enumerate(file_names):
        if file_name is None:
            continue
        objects = list(annotations.objects(index))
        stem = Path(file_name).stem
        text = _xml(file_name, annotations.size(index), objects, annotations.class_names)
        with atomic_write(out / "Annotations" / f"{stem}.xml", "w") as file:
            file.write(text)
        stems.append(stem)
        _count_losses(objects, losses)
    with atomic_write(out / "ImageSets" / "Main" / f"{split}.txt", "w") as file:
        file.write("".join(f"{stem}\n" for stem in stems))
    return losses


def _count_losses(objects: Iterable[ObjectInfo], losses: Losses) -> None:
    for info in objects:
        losses["masks (VOC's XML has boxes only)"] += info.segment is not None
        losses["keypoints (VOC's XML has boxes only)"] += info.keypoints is not None
        losses["crowd regions, left out (VOC has none)"] += info.is_crowd


def _xml(file_name: str, size: Size, objects: Iterable[ObjectInfo], names: Sequence[str]) -> str:
    root = ElementTree.Element("annotation")
    _add(root, folder="JPEGImages", filename=file_name)
    _add(ElementTree.SubElement(root, "size"), width=size[1], height=size[0], depth=3)
    _add(root, segmented=0)
    for info in objects:
        if info.is_crowd:
            continue
        x, y, width, height = info.box_xywh
        entry = ElementTree.SubElement(root, "object")
        _add(entry, name=names[info.label], pose="Unspecified", truncated=int(info.is_truncated))
        _add(entry, difficult=int(info.is_difficult))
        box = ElementTree.SubElement(entry, "bndbox")
        _add(box, xmin=_number(x + 1), ymin=_number(y + 1), xmax=_number(x + width), ymax=_number(y + height))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, **texts: object) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
