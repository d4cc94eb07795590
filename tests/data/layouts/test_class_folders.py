import shutil

import pytest

import fakes
from tag2mask.data.layouts import Listed, list_class_folders
from tag2mask.errors import DatasetError


def listing(root, *, images="", masks=None, train="train", classes=None):
    return list_class_folders(
        root, images=images, masks=masks, train=train, classes=classes
    )


def test_folder_is_the_tag_and_the_split(tmp_path):
    found = listing(fakes.write_class_folders(tmp_path))
    assert found.images == (
        Listed("train/cat/001", "train/cat/001.jpg", ("cat",), "train"),
        Listed("train/cat/sub/003", "train/cat/sub/003.png", ("cat",), "train"),
        Listed("train/dog/001", "train/dog/001.jpg", ("dog",), "train"),
        Listed("val/dog/002", "val/dog/002.jpg", ("dog",), "val"),
    )
    assert found.class_names == ("background", "cat", "dog")
    assert (found.problems, found.notes) == ((), ())


def test_without_splits_all_train(tmp_path):
    found = listing(fakes.write_class_folders(tmp_path, with_splits=False))
    assert [image.name for image in found.images] == [
        "cat/001", "cat/sub/003", "dog/001", "dog/002",
    ]  # fmt: skip
    assert {image.split for image in found.images} == {"train"}


def test_class_may_be_called_train(tmp_path):
    root = fakes.write_class_folders(tmp_path, with_splits=False)
    fakes.write_picture(root / "train" / "001.jpg", 9)
    found = listing(root)
    assert found.class_names == ("background", "cat", "dog", "train")


def test_names_of_splits_and_of_the_image_folder(tmp_path):
    root = fakes.write_class_folders(tmp_path / "photos")
    (root / "train").rename(root / "learn")
    found = listing(tmp_path, images="photos", train="learn")
    assert found.images[0].file == "photos/learn/cat/001.jpg"
    assert [image.split for image in found.images] == ["learn"] * 3 + ["val"]


def test_a_second_run_lists_what_the_first_did(tmp_path):
    """The default work folder lies in the current one, which may be the data."""
    root = fakes.write_class_folders(tmp_path)
    first = listing(root)
    fakes.write_mask(root / "work" / "seed" / "0" / "labels" / "001.png", 1)
    (root / "work" / "index" / "0").mkdir(parents=True)
    (root / "work" / "index" / "0" / "manifest.json").touch()
    assert listing(root) == first


def test_formats_that_are_not_read_are_counted(tmp_path):
    root = fakes.write_class_folders(tmp_path, with_splits=False)
    for name in ("a.heic", "b.HEIC", "c.gif", "notes.txt"):
        (root / "cat" / name).touch()
    assert listing(root).notes == (
        "3 files of formats that are not read (.gif, .heic): left out; convert them",
    )


def test_masks_are_no_images(tmp_path):
    root = fakes.write_class_folders(tmp_path, with_splits=False)
    fakes.write_mask(root / "masks" / "cat" / "001.png", 1)
    assert listing(root, masks="masks").class_names == ("background", "cat", "dog")


def test_folder_that_is_no_class_is_told(tmp_path):
    root = fakes.write_class_folders(tmp_path)
    assert listing(root, classes=["cats", "dog"]).problems == (
        f"{root}: tag 'cat' of train/cat/001.jpg and 1 more is no class; did you mean "
        f"'cats'?",
    )


def test_picture_of_two_classes_or_splits_is_told(tmp_path):
    root = fakes.write_class_folders(tmp_path)
    shutil.copy(root / "train" / "cat" / "001.jpg", root / "val" / "dog" / "001.jpg")
    assert listing(root).problems == (
        "train/cat/001.jpg and val/dog/001.jpg are one picture; keep one, or name all "
        "its tags with data.layout = 'folder'",
    )


def test_one_name_in_two_classes_is_allowed_if_the_pictures_differ(tmp_path):
    root = tmp_path
    for name, value in (("cat", b"a"), ("dog", b"b")):
        (root / name).mkdir()
        (root / name / "001.jpg").write_bytes(value)
    assert listing(root).problems == ()


def test_image_outside_of_classes_and_shared_label_map_are_told(tmp_path):
    root = fakes.write_class_folders(tmp_path)
    fakes.write_picture(root / "val" / "stray.jpg")
    fakes.write_picture(root / "train" / "cat" / "001.png", 7)
    assert listing(root).problems == (
        f"{root}: train/cat/001.jpg and train/cat/001.png would share the label map "
        f"train/cat/001.png; rename one",
        f"{root}/val/stray.jpg is in no class folder; expected SPLIT/CLASS/IMAGE below "
        f"{root}",
    )


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"no image folder .*/none; check data\.root"
    ):
        listing(tmp_path / "none")
