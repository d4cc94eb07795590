import pytest

import fakes
from tag2mask.data.layouts import Listed, list_voc
from tag2mask.data.published import VOC_CLASSES
from tag2mask.errors import DatasetError


@pytest.fixture
def root(tmp_path):
    return fakes.write_voc(tmp_path / "VOC2012")


def listing(root, *, train="train", val="val", difficult=True, classes=None):
    return list_voc(
        root,
        lists={"train": train, "val": val},
        images="JPEGImages",
        annotations="Annotations",
        difficult=difficult,
        classes=classes,
    )


def problems(root, **knobs):
    return [each.removeprefix(f"{root}/") for each in listing(root, **knobs).problems]


def train_list(root, *lines):
    path = root / "ImageSets" / "Segmentation" / "train.txt"
    path.write_text("\n".join(lines))


def test_published_classes():
    assert len(VOC_CLASSES) == 20
    assert list(VOC_CLASSES) == sorted(VOC_CLASSES)
    assert (VOC_CLASSES[0], VOC_CLASSES[19]) == ("aeroplane", "tvmonitor")
    named = {each.removesuffix("?") for each in sum(fakes.VOC_IMAGES.values(), ())}
    assert named < set(VOC_CLASSES)


def test_objects_are_tags_each_once_and_parts_are_none(root):
    found = listing(root)
    assert found.images == (
        Listed(
            "2007_000032", "JPEGImages/2007_000032.jpg", ("aeroplane", "person"),
            "train",
        ),
        Listed("2007_000039", "JPEGImages/2007_000039.jpg", ("tvmonitor",), "train"),
        Listed("2011_003276", "JPEGImages/2011_003276.jpg", ("sofa",), "val"),
    )  # fmt: skip
    assert found.class_names == ("background", *VOC_CLASSES)
    assert (found.problems, found.notes) == ((), ())


def test_difficult_objects_may_be_left_out(root):
    with_them, without = (
        {image.name: image.tags for image in listing(
            root, train="trainaug", difficult=difficult
        ).images}
        for difficult in (True, False)
    )  # fmt: skip
    assert with_them["2008_000002"] == ("cat", "dog")
    assert without["2008_000002"] == ("cat",)
    assert without["2011_003276"] == ()


@pytest.mark.parametrize(
    "name",
    ["train_aug", "train_aug.txt", "ImageSets/Segmentation/train_aug.txt", "trainaug"],
)
def test_lists_of_sbd_and_of_other_places(root, name):
    found = listing(root, train=name)
    assert [image.name for image in found.images] == list(fakes.VOC_IMAGES)
    assert found.problems == ()


def test_empty_name_is_an_empty_split(root):
    assert {image.split for image in listing(root, val="").images} == {"train"}


def test_classes_may_be_others(root):
    found = listing(root, train="train", classes=("sofa", "person", "aeroplane"))
    assert found.class_names == ("background", "sofa", "person", "aeroplane")
    assert found.problems == (
        f"{root}/Annotations: tag 'tvmonitor' of JPEGImages/2007_000039.jpg is no "
        f"class",
    )


def test_misspelt_object_is_told_with_the_nearest_class(root):
    xml = root / "Annotations" / "2007_000039.xml"
    xml.write_text(fakes.voc_xml("2007_000039", ["tv monitor"]))
    assert problems(root) == [
        "Annotations: tag 'tv monitor' of JPEGImages/2007_000039.jpg is no class; did "
        "you mean 'tvmonitor'?"
    ]


def test_all_problems_come_at_once(root):
    train_list(root, "2007_000032", "2007_000032", "2007_000039", "2008_000002 1", "no")
    (root / "Annotations" / "2007_000039.xml").unlink()
    (root / "Annotations" / "2011_003276.xml").write_text("<annotation><object>")
    lists = "ImageSets/Segmentation/train.txt"
    assert problems(root) == [
        f"{lists}: image '2007_000032' is listed twice",
        f"there is no annotation {root}/Annotations/2007_000039.xml; add it, or take "
        f"the image off its list",
        f"{lists}: image '2008_000002 1' has no file in {root}/JPEGImages",
        f"{lists}: image 'no' has no file in {root}/JPEGImages",
        "Annotations/2011_003276.xml cannot be read as an annotation: no element "
        "found: line 1, column 20; replace it, or take the image off its list",
    ]


def test_image_of_both_splits_is_told(root):
    train_list(root, "2007_000039", "2011_003276")
    assert problems(root) == [
        "ImageSets/Segmentation/val.txt: image '2011_003276' is listed twice, as train "
        "and as val"
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "it has a DOCTYPE"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "it has a DOCTYPE"),
        ("<annotation>&b;</annotation>", "undefined entity"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "unknown encoding"),
        ("", "no element found"),
        ("\0", "line 1, column 0"),
    ],
)
def test_xml_that_is_none_or_does_harm_is_refused(root, text, part):
    (root / "Annotations" / "2007_000039.xml").write_text(text)
    (problem,) = problems(root)
    assert problem.startswith(
        "Annotations/2007_000039.xml cannot be read as an annotation: "
    )
    assert part in problem


def test_object_without_a_name_is_told(root):
    path = root / "Annotations" / "2007_000039.xml"
    path.write_text("<annotation><object><name> </name></object></annotation>")
    assert problems(root) == [
        "Annotations/2007_000039.xml: an object has no name; write <name> in it"
    ]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        (
            {"train": "trian"},
            r"no list .*trian\.txt; check .*data\.lists\.train; did y",
        ),
        (
            {"val": "sub/val.txt"},
            r"no list .*/VOC2012/sub/val\.txt; .*data\.lists\.val",
        ),
    ],
)
def test_missing_list_is_named(root, knobs, message):
    with pytest.raises(DatasetError, match=message):
        listing(root, **knobs)


def test_empty_or_unreadable_list_is_named(root):
    train_list(root, "", " ")
    with pytest.raises(DatasetError, match=r"train\.txt names no image; write one"):
        listing(root)
    (root / "ImageSets" / "Segmentation" / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"train\.txt cannot be read as a list"):
        listing(root)


@pytest.mark.parametrize("folder", ["JPEGImages", "Annotations"])
def test_missing_folder_is_named(root, folder):
    (root / folder).rename(root / "other")
    with pytest.raises(
        DatasetError, match=rf"there is no .*{folder}; check data\.root"
    ):
        listing(root)
