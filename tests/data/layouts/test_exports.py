"""Tags that other tools export: Label Studio, CVAT, Hugging Face, FiftyOne."""

import json

import pytest

import fakes
from tag2mask.data.label_studio_file import draw_regions, possible_files, task_size
from tag2mask.data.layouts import (
    Listed,
    list_cvat,
    list_fiftyone,
    list_image_folder,
    list_label_studio,
)
from tag2mask.errors import DatasetError

CLASSES = ("background", "cat", "dog")


def label_studio(root, **changes):
    options = {"images": "images", "tags": "label-studio.json", "field": "image"}
    options |= {"control": "", "classes": None}
    return list_label_studio(root, **(options | changes))


def told(listing, source):
    return [each.removeprefix(str(source)) for each in listing.problems]


def test_choices_of_label_studio(tmp_path):
    found = label_studio(fakes.write_label_studio(tmp_path))
    assert found.images == (
        Listed("a", "images/a.jpg", ("cat", "dog"), "train"),
        Listed("b", "images/b.png", (), "val"),
        Listed("sub/c", "images/sub/c.webp", ("dog",), "train"),
    )
    assert found.class_names == CLASSES
    assert found.problems == ()
    assert found.notes == (
        f"1 images are not in {tmp_path}/label-studio.json: left out",
        "1 tasks have no annotation: left out",
    )


def test_one_of_several_choices_is_read(tmp_path):
    root = fakes.write_label_studio(tmp_path)
    found = label_studio(root, control="animal")
    assert [image.tags for image in found.images] == [("cat",), (), ("dog",)]


@pytest.mark.parametrize(
    ("address", "last"),
    [
        ("/data/upload/3/0a1b2c3d-my cat.jpg", "my cat.jpg"),
        ("/data/local-files/?d=set%20one/sub/a.jpg", "a.jpg"),
        ("s3://bucket/sub/a.jpg", "a.jpg"),
        ("https://host/x/a%20b.jpg?token=1", "a b.jpg"),
        ("../../a.jpg", "a.jpg"),
    ],
)
def test_address_of_an_image(address, last):
    files = list(possible_files(address))
    assert files[-1] == last
    assert not any(".." in file or file.startswith("/") for file in files)


def test_longest_path_that_is_there_wins(tmp_path):
    root = fakes.write_label_studio(tmp_path, [fakes.task("s3://x/sub/a.jpg", "cat")])
    fakes.write_picture(root / "images" / "sub" / "a.jpg")
    (image,) = label_studio(root).images
    assert image.name == "sub/a"


def test_problems_of_label_studio_come_at_once(tmp_path):
    tasks = [
        fakes.task("gone.jpg", "cat", id=7),
        fakes.task("a.jpg", "cat"),
        fakes.task("/data/upload/1/a.jpg", "dog"),
        fakes.task("b.png", "cta", id=9) | {"data": {"picture": "b.png"}},
    ]
    root = fakes.write_label_studio(tmp_path, tasks)
    found = label_studio(root)
    assert told(found, root / "label-studio.json") == [
        f", task 7: image 'gone.jpg' has no file in {root}/images",
        ": image 'a' is listed twice",
        ", task 9: no address of an image in 'image', there are 'picture'",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "cannot be read as JSON"),
        ("{}", "expected Label Studio's export as JSON, a list"),
        ('[{"image": "a.jpg", "choice": "cat"}]', "export as JSON, not as JSON-MIN"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_what_is_no_export_of_label_studio(tmp_path, text, part):
    fakes.write_label_studio(tmp_path)
    (tmp_path / "label-studio.json").write_text(text)
    with pytest.raises(DatasetError, match=part):
        label_studio(tmp_path)


def cvat(root, **changes):
    options = {"images": "images", "tags": "annotations.xml", "classes": None}
    return list_cvat(root, **(options | changes))


def test_tags_of_cvat(tmp_path):
    found = cvat(fakes.write_cvat(tmp_path))
    assert found.images == (
        Listed("a", "images/a.jpg", ("cat", "dog"), "train"),
        Listed("b", "images/b.png", (), "val"),
        Listed("sub/c", "images/sub/c.webp", ("dog",), "train"),
    )
    assert (found.class_names, found.problems, found.notes) == (CLASSES, (), ())


def test_problems_of_cvat_come_at_once(tmp_path):
    root = fakes.write_cvat(tmp_path)
    path = root / "annotations.xml"
    path.write_text(path.read_text().replace('"a.jpg"', '"../gone.jpg"'))
    found = cvat(root, classes=["cat"])
    assert told(found, path) == [
        f": image '../gone.jpg' has no file in {root}/images",
        ": tag 'dog' of images/sub/c.webp is no class",
    ]


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]>'
    "<annotations><image name='a.jpg'><tag label='&c;'/></image></annotations>"
)
OUTSIDE = (
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotations><image name='&x;'/></annotations>"
)


@pytest.mark.parametrize("text", [BOMB, OUTSIDE])
def test_entities_are_never_expanded(tmp_path, text):
    root = fakes.write_cvat(tmp_path)
    (root / "annotations.xml").write_text(text)
    with pytest.raises(DatasetError, match="it has a DOCTYPE"):
        cvat(root)


@pytest.mark.parametrize(
    ("text", "part"),
    [("<a>", "cannot be read as XML"), ("<a/>", "expected <annotations> .* got <a>")],
)
def test_what_is_no_export_of_cvat(tmp_path, text, part):
    root = fakes.write_cvat(tmp_path)
    (root / "annotations.xml").write_text(text)
    with pytest.raises(DatasetError, match=part):
        cvat(root)
    (root / "annotations.xml").unlink()
    with pytest.raises(DatasetError, match=r"no file of tags .*annotations\.xml; che"):
        cvat(root)


def image_folder(root, **changes):
    options = {"metadata": "metadata.jsonl", "column": "tags", "classes": None}
    options |= {"splits": ("train", "validation")}
    return list_image_folder(root, **(options | changes))


def test_image_folder_with_splits(tmp_path):
    found = image_folder(fakes.write_image_folder(tmp_path))
    assert found.images == (
        Listed("train/a", "train/a.jpg", ("cat", "dog"), "train"),
        Listed("train/sub/c", "train/sub/c.webp", ("dog",), "train"),
        Listed("validation/b", "validation/b.png", (), "validation"),
    )
    assert (found.class_names, found.problems, found.notes) == (CLASSES, (), ())


def test_image_folder_without_splits_and_with_numbers(tmp_path):
    fakes.write_picture(tmp_path / "a.jpg")
    fakes.write_picture(tmp_path / "b.jpg", 1)
    rows = [
        {"file_name": "a.jpg", "label": 1},
        {"file_name": "b.jpg", "label": [0, 1], "split": "validation"},
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "metadata.jsonl").write_text(text)
    found = image_folder(tmp_path, column="label", classes=("cat", "dog"))
    assert found.images == (
        Listed("a", "a.jpg", ("dog",), "train"),
        Listed("b", "b.jpg", ("cat", "dog"), "validation"),
    )
    assert "2 stands" not in str(found.problems)
    unnamed = image_folder(tmp_path, column="label")
    assert "line 1 of 'label': 1 stands for a class, but nothing" in unnamed.problems[0]


@pytest.mark.parametrize(
    ("row", "part"),
    [
        ({"tags": []}, 'expected an object such as {"file_name"'),
        ({"file_name": "../a.jpg", "tags": []}, "'../a.jpg' leads out of its folder"),
        ({"file_name": "/a.jpg", "tags": []}, "leads out of its folder"),
        ({"file_name": "no.jpg", "tags": []}, "image 'train/no.jpg' has no file in"),
        ({"file_name": "a.jpg", "tags": 1.5}, "expected names or numbers, got 1.5"),
        ({"file_name": "a.jpg", "tags": True}, "expected names or numbers, got True"),
        ({"file_name": "a.jpg", "tags": 2}, "2 is no place in a list of 2 classes"),
        ({"file_name": "a.jpg", "tags": -1}, "-1 is no place in a list of 2 classes"),
    ],
)
def test_problems_of_an_image_folder(tmp_path, row, part):
    root = fakes.write_image_folder(tmp_path)
    (root / "train" / "metadata.jsonl").write_text(json.dumps(row))
    found = image_folder(root, classes=("cat", "dog"))
    assert part in found.problems[0]


def fiftyone(root, **changes):
    options = {"images": "data", "labels": "labels.json", "classes": None}
    options |= {"splits": ("train", "validation")}
    return list_fiftyone(root, **(options | changes))


def test_export_of_fiftyone(tmp_path):
    found = fiftyone(fakes.write_fiftyone(tmp_path))
    assert found.images == (
        Listed("a", "data/a.jpg", ("dog",), "train"),
        Listed("b", "data/b.png", ("cat", "dog"), "train"),
        Listed("sub/c", "data/sub/c.webp", (), "train"),
    )
    assert (found.class_names, found.problems, found.notes) == (CLASSES, (), ())


def test_export_of_fiftyone_for_each_split_may_use_a_name_twice(tmp_path):
    for split in ("train", "validation"):
        fakes.write_fiftyone(tmp_path / split)
    found = fiftyone(tmp_path)
    assert [(i.name, i.split) for i in found.images][::3] == [
        ("train/a", "train"),
        ("validation/a", "validation"),
    ]
    assert found.problems == ()


def test_labels_of_fiftyone_may_be_names(tmp_path):
    root = fakes.write_fiftyone(tmp_path)
    labels = {"a": "cat", "b": {"label": "dog", "confidence": 0.5}, "sub/c": None}
    (root / "labels.json").write_text(json.dumps({"labels": labels}))
    found = fiftyone(root)
    assert [image.tags for image in found.images] == [("cat",), ("dog",), ()]
    assert fiftyone(root, classes=("dog", "cat")).class_names[1] == "dog"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("[]", "expected 'labels' by image"),
        ('{"labels": {}, "classes": [1]}', "perhaps a list 'classes'"),
        ("x", "cannot be read as JSON"),
    ],
)
def test_what_is_no_export_of_fiftyone(tmp_path, content, part):
    root = fakes.write_fiftyone(tmp_path)
    (root / "labels.json").write_text(content)
    with pytest.raises(DatasetError, match=part):
        fiftyone(root)
    (root / "labels.json").unlink()
    with pytest.raises(DatasetError, match=r"no file of labels .*labels\.json; check"):
        fiftyone(root)


def test_problems_of_fiftyone_come_at_once(tmp_path):
    root = fakes.write_fiftyone(tmp_path)
    content = {"classes": ["cat"], "labels": {"a": 1, "gone": 0, "b": "emu"}}
    (root / "labels.json").write_text(json.dumps(content))
    assert told(fiftyone(root), root / "labels.json") == [
        ", labels of 'a': 1 is no place in a list of 1 classes, from 0",
        f": image 'gone' has no file in {root}/data",
        ": tag 'emu' of data/b.png is no class",
    ]


@pytest.mark.parametrize("address", ["http://[", "//[::1/a.jpg", "http://a]/b.jpg"])
def test_an_address_with_stray_brackets_is_a_problem_and_no_crash(tmp_path, address):
    found = label_studio(fakes.write_label_studio(tmp_path, [fakes.task(address)]))
    assert found.problems  # no such file, or, where its last part is one, no class


def test_a_path_of_many_steps_is_not_searched_for_ever():
    found = list(possible_files("/a" * 100_000 + "/b.jpg"))
    assert len(found) == 64
    assert found[-1] == "b.jpg"


@pytest.mark.parametrize("result", [5, True, "choices", {"type": "choices"}])
def test_a_result_that_is_no_list_says_nothing(tmp_path, result):
    task = fakes.task("a.jpg")
    task["annotations"][0]["result"] = result
    found = label_studio(fakes.write_label_studio(tmp_path, [task]))
    assert [image.tags for image in found.images] == [()]


@pytest.mark.parametrize("size", [True, -4, 0, "4", None, 10**9])
def test_a_size_that_is_none_is_not_drawn(size):
    region = {"type": "brushlabels", "original_height": size, "original_width": size}
    with pytest.raises(ValueError, match=r"size|is of no photograph"):
        draw_regions([region], {"cat": 1})
    data = {"height": size, "width": size}
    assert task_size({"data": data}) is None


@pytest.mark.parametrize("value", [5, {"brushlabels": 5}, {"brushlabels": [["cat"]]}])
def test_a_brush_of_a_strange_shape_is_told(value):
    sizes = {"original_height": 2, "original_width": 2}
    region = {"type": "brushlabels", "value": value} | sizes
    if value == {"brushlabels": [["cat"]]}:
        with pytest.raises(ValueError, match="is no class"):
            draw_regions([region], {"cat": 1})
    else:
        assert draw_regions([region], {"cat": 1}).tolist() == [[0, 0], [0, 0]]
