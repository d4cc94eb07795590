import numpy as np
import pytest

import fakes
from tag2mask.data.layouts import Listed, list_multi_hot
from tag2mask.errors import DatasetError

CLASSES = ("cat", "dog", "emu")


def listing(root, *, classes=CLASSES, val="val.txt"):
    return list_multi_hot(
        root,
        lists={"train": "train.txt", "val": val},
        images="images",
        labels="cls_labels.npy",
        classes=classes,
    )


def vector(*values):
    return np.array(values, np.float32)


def test_lists_and_vectors(tmp_path):
    found = listing(fakes.write_multi_hot(tmp_path))
    assert found.images == (
        Listed("2007_000032", "images/2007_000032.jpg", ("cat", "emu"), "train"),
        Listed("2007_000039", "images/2007_000039.jpg", ("dog",), "train"),
        Listed("2011_003276", "images/2011_003276.jpg", (), "val"),
    )
    assert found.class_names == ("background", *CLASSES)
    assert (found.problems, found.notes) == ((), ())


def test_keys_may_be_names(tmp_path):
    names = ("2007_000032", "2007_000039", "2011_003276")
    root = fakes.write_multi_hot(tmp_path, {name: vector(0, 1, 0) for name in names})
    assert {image.tags for image in listing(root).images} == {("dog",)}


def test_number_of_a_coco_image(tmp_path):
    root = fakes.write_multi_hot(tmp_path, {9: vector(0, 0, 1), 123: vector(1, 0, 0)})
    names = ("COCO_train2014_000000000009", "sub/000000000123")
    for name in names:
        fakes.write_picture(root / "images" / f"{name}.jpg")
    (root / "train.txt").write_text("\n".join(names))
    found = listing(root, val="")
    assert [image.tags for image in found.images] == [("emu",), ("cat",)]
    assert found.problems == ()


def test_classes_may_be_a_file(tmp_path):
    root = fakes.write_multi_hot(tmp_path)
    (root / "names.txt").write_text("emu\ndog\ncat\n")
    assert listing(root, classes="names.txt").images[0].tags == ("emu", "cat")


def test_all_problems_come_at_once(tmp_path):
    root = fakes.write_multi_hot(
        tmp_path,
        {
            "2007_000032": vector(0, 1),
            "2007_000039": vector(0, 0.5, 1),
            "2011_003276": vector(0, 0, 1),
        },
    )
    fakes.write_picture(root / "images" / "x.jpg")
    with (root / "train.txt").open("a") as stream:
        stream.write("no\nx\n2011_003276\n")
    assert listing(root).problems == (
        f"{root}/cls_labels.npy: the vector of '2007_000032' has 2 places, but there "
        f"are 3 classes; correct data.classes",
        f"{root}/cls_labels.npy: the vector of '2007_000039' holds other numbers than "
        f"0 and 1",
        f"{root}/train.txt: image 'no' has no file in {root}/images",
        f"{root}/cls_labels.npy: image 'x' has no label vector; take it off its list "
        f"or add one",
        f"{root}/val.txt: image '2011_003276' is listed twice, as train and as val",
    )


def test_what_is_missing_is_named(tmp_path):
    root = fakes.write_multi_hot(tmp_path)
    with pytest.raises(
        DatasetError, match=r"no list .*/x\.txt; check .*data\.lists\.v"
    ):
        listing(root, val="x.txt")
    (root / "cls_labels.npy").unlink()
    with pytest.raises(DatasetError, match=r"no label file .*; check .*data\.labels"):
        listing(root)
    with pytest.raises(DatasetError, match=r"data\.classes: class cat is named twice"):
        listing(root, classes=("cat", "cat"))
