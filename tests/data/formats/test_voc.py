"""Pascal VOC's XML: pixels counted from 1, lists of splits, and broken files named."""

import pytest

from boxwright.data.annotations import UNUSABLE
from boxwright.data.formats.reading import find_splits, read_dataset, read_splits
from boxwright.data.formats.voc import read_voc
from boxwright.errors import DatasetError

OBJECT = """<object><name>dog</name><difficult>1</difficult><truncated>0</truncated>
<bndbox><xmin>1</xmin><ymin>3</ymin><xmax>60</xmax><ymax>40</ymax></bndbox></object>"""


def xml(objects=OBJECT, size="<size><width>60</width><height>40</height></size>", name="a.png"):
    return f"<annotation><filename>{name}</filename>{size}{objects}</annotation>"


@pytest.fixture
def voc(tmp_path, picture):
    """-> a VOC2007 folder with one picture a in train and one b in val."""

    def make(text_of_a=None, **lists):
        folder = tmp_path / "VOC2007"
        for stem in "ab":
            picture(folder / "JPEGImages" / f"{stem}.png")
        for inner in ("Annotations", "ImageSets/Main"):
            (folder / inner).mkdir(parents=True)
        cat = OBJECT.replace("dog", "cat").replace("<difficult>1", "<difficult>0")
        (folder / "Annotations" / "a.xml").write_text(xml() if text_of_a is None else text_of_a)
        (folder / "Annotations" / "b.xml").write_text(xml(cat, name="b.png"))
        for split, stems in (lists or {"train": "a\n", "val": "b\n"}).items():
            (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(stems)
        return folder

    return make


def test_a_box_of_the_whole_picture_covers_it(voc):
    found = read_dataset(voc(), split="train")
    (info,) = found.objects(0)
    assert info.box_xywh == (0, 2, 60, 38)
    assert (info.is_difficult, info.is_truncated) == (True, False)
    assert found.target(0).boxes.tolist() == [[0, 2, 60, 40]]
    assert (found.image_id(0), found.path(0).name, found.size(0)) == ("a", "a.png", (40, 60))


def test_every_split_numbers_the_classes_of_all_alike(voc):
    folder = voc()
    train, val = (read_dataset(folder, split=split) for split in ("train", "val"))
    assert train.class_names == val.class_names == ("cat", "dog")
    assert [part.objects(0)[0].label for part in (train, val)] == [1, 0]


def test_years_side_by_side_are_joined_by_split(voc, tmp_path):
    voc().rename(tmp_path / "VOC2012")
    voc()
    splits = find_splits(tmp_path)
    assert sorted(splits) == ["train", "val"]
    assert len(read_splits([splits["train"]])) == 2


def test_without_lists_all_files_are_one_split(voc):
    folder = voc()
    for path in (folder / "ImageSets" / "Main").iterdir():
        path.unlink()
    assert len(read_dataset(folder)) == 2


def test_lists_of_one_class_are_no_splits(voc):
    assert sorted(find_splits(voc(train="a\n", dog_train="a 1\n"))) == ["train"]


def test_sizes_and_names_that_are_missing_come_from_the_pictures(voc):
    found = read_dataset(voc(xml(size="", name="elsewhere.jpg")))
    assert (found.size(0), found.path(0).name) == ((40, 60), "a.png")


@pytest.mark.parametrize(
    ("text", "kind", "place", "detail"),
    [
        ("<annotation>", "malformed_image", "a.xml", "is not XML"),
        ("", "malformed_image", "a.xml", "is not XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "malformed_image", "a.xml", "defines XML entities"),
        (xml(size="<size><width>x</width><height>4</height></size>"), "malformed_image", "a.xml", "x"),
        (xml(size="<size><width>3e9</width><height>4</height></size>"), "malformed_image", "a.xml", "width 3000000000"),
        (xml(OBJECT.replace("dog", "")), "malformed_object", "a.xml: object[0]", "no name"),
        (xml("<object><name>dog</name></object>"), "malformed_object", "a.xml: object[0]", "no bndbox"),
        (xml(OBJECT.replace("<xmin>1</xmin>", "")), "malformed_object", "a.xml: object[0]", "no xmin"),
        (xml(OBJECT.replace(">60<", ">far<")), "malformed_object", "a.xml: object[0]", "far"),
    ],
)
def test_what_is_broken_is_left_out_and_named(text, kind, place, detail, voc):
    found = read_dataset(voc(text))
    (problem,) = found.problems
    assert problem["kind"] == kind
    assert problem["place"].endswith(place)
    assert detail in problem["detail"]
    assert found.num_objects == 0


def test_a_box_that_is_not_a_number_is_kept_from_training(voc):
    found = read_dataset(voc(xml(OBJECT.replace(">60<", ">nan<"))))
    assert found.columns["flags"][0] & UNUSABLE
    assert len(found.target(0)) == 0


def test_a_listed_file_that_is_not_there_is_named(voc):
    found = read_dataset(voc(train="a\nmissing\n"))
    assert [problem["kind"] for problem in found.problems] == ["missing_annotation"]
    assert found.problems[0]["place"].endswith("Annotations/missing.xml")


def test_names_may_hold_spaces_and_lines_a_flag(voc, picture):
    folder = voc(train="a -1\nwith a space\n")
    picture(folder / "JPEGImages" / "with a space.png")
    (folder / "Annotations" / "with a space.xml").write_text(xml(OBJECT, name="with a space.png"))
    found = read_dataset(folder)
    assert ([found.image_id(index) for index in range(2)], found.problems) == (["a", "with a space"], ())


def test_a_list_that_is_no_text_is_an_error(voc):
    folder = voc()
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"the list of the split 'train': .*train\.txt cannot be read as text"):
        read_dataset(folder)


def test_a_list_that_is_not_there_is_an_error(voc):
    folder = voc()
    with pytest.raises(DatasetError, match=r"the list of the split 'test': .*test\.txt does not exist"):
        read_voc(folder, folders=[folder], split="test")
