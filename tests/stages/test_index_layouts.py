"""Every layout through the index, every knob of it alive."""

import json

import numpy as np
import pytest

import fakes
from tag2mask.artifacts.tables import Index
from tag2mask.config import (
    ClassFoldersData,
    CocoData,
    CvatData,
    FiftyOneData,
    ImageFolderData,
    JsonData,
    LabelStudioData,
    MultiHotData,
    VocData,
    load_recipe,
)
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.stages import index, truth

RUNTIME = Runtime(workers=1, progress=Progress())


def make(data, folder):
    listing = index.list_images(data)
    index.fingerprint(data, listing)
    index.run(data, listing, folder, runtime=RUNTIME)
    return Index(folder, data.root)


def complaint(data, folder):
    with pytest.raises(DatasetError) as caught:
        make(data, folder)
    _, *lines = str(caught.value).split("\n")
    return [line.strip() for line in lines]


def told(table):
    """What of an index any knob may change."""
    return table.class_names, table.images, table.notes


def test_index_of_voc(tmp_path):
    data = VocData(root=fakes.write_voc(tmp_path / "voc"))
    table = make(data, tmp_path / "made")
    assert [tuple(image) for image in table.images] == [
        ("2007_000032", "JPEGImages/2007_000032.jpg", 12, 8, (1, 15), "train"),
        ("2007_000039", "JPEGImages/2007_000039.jpg", 12, 8, (20,), "train"),
        ("2011_003276", "JPEGImages/2011_003276.jpg", 12, 8, (18,), "val"),
    ]
    assert table.notes == ()
    masks = truth.open_masks(data)
    mask = masks.read("2007_000039", num_classes=21, size=(12, 8))
    assert set(mask.flat) == {0, 20, 255}
    assert "2008_000002" not in masks
    sbd = truth.open_masks(data.model_copy(update={"masks": "SegmentationClassAug"}))
    assert "2008_000002" in sbd


@pytest.mark.parametrize(
    ("change", "num_images", "num_tags"),
    [
        ({}, 3, 4),
        ({"lists": {"train": "trainaug"}}, 4, 6),
        ({"lists": {"val": ""}}, 2, 3),
        ({"difficult": False}, 3, 3),
        ({"annotations": "Other"}, 3, 3),
        ({"images": "Links"}, 3, 4),
        (
            {
                "classes": ("cat", "sofa", "tvmonitor", "aeroplane", "person"),
                "masks": "",
            },
            3,
            4,
        ),
    ],
    ids=str,
)
def test_knobs_of_voc_are_alive(tmp_path, change, num_images, num_tags):
    root = fakes.write_voc(tmp_path / "voc")
    (root / "Links").symlink_to(root / "JPEGImages")
    (root / "Other").mkdir()
    for name in fakes.VOC_IMAGES:
        xml = root / "Other" / f"{name}.xml"
        xml.write_text(fakes.voc_xml(name, ["sofa"]))
    table = make(VocData(root=root, **change), tmp_path / "made")
    assert len(table.images) == num_images
    assert sum(len(image.tags) for image in table.images) == num_tags
    assert table.class_names[1] == change.get("classes", ["aeroplane"])[0]
    assert table.images[0].file.startswith(change.get("images", "JPEGImages"))


def test_nothing_to_train_on_is_told_where_lists_are_splits(tmp_path):
    root = fakes.write_voc(tmp_path / "voc")
    lines = complaint(VocData(root=root, lists={"train": ""}), tmp_path / "made")
    assert lines == ["no image is left to train on"]


@pytest.fixture
def coco(tmp_path):
    root = fakes.write_coco(tmp_path / "coco")
    instances = json.loads((root / "annotations/instances_val2014.json").read_text())
    (root / "other.json").write_text(json.dumps(instances))
    return root


PART = {"annotations": "other.json", "images": "val2014"}


def test_index_of_coco_keeps_images_without_annotations(coco, tmp_path):
    table = make(CocoData(root=coco), tmp_path / "made")
    rows = [(image.name[-3:], image.tags, image.split) for image in table.images]
    assert rows == [
        ("009", (1, 2), "train"),
        ("025", (4,), "train"),
        ("030", (), "train"),
        ("042", (3,), "val"),
    ]
    assert table.notes[-1] == "images without a tag, of background only: 1"


@pytest.mark.parametrize(
    "change",
    [{"crowd": False}, {"val": ""}, {"train": PART, "val": ""}, {"masks": "train2014"}],
    ids=str,
)
def test_knobs_of_coco_are_alive(coco, tmp_path, change):
    before = told(make(CocoData(root=coco), tmp_path / "a"))
    assert told(make(CocoData(root=coco, **change), tmp_path / "b")) != before


def test_coco_of_both_years_from_a_recipe(tmp_path):
    root = fakes.write_coco(tmp_path / "coco", year=2017)
    recipe = load_recipe(
        "toy",
        [
            f"data={{layout='coco',root='{root}'}}",
            "data.train.annotations=annotations/instances_train2017.json",
            "data.train.images=train2017",
            "data.val={annotations='annotations/instances_val2017.json',images='val2017'}",
        ],
    )
    assert len(make(recipe.data, tmp_path / "made").images) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"images": "train"},
        {"classes": ("dog", "cat")},
        {"splits": {"train": "val", "val": "train"}},
        {"masks": "val"},
    ],
    ids=str,
)
def test_knobs_of_class_folders_are_alive(tmp_path, change):
    root = fakes.write_class_folders(tmp_path / "data")
    before = make(ClassFoldersData(root=root), tmp_path / "a")
    assert [(image.name, image.tags, image.split) for image in before.images] == [
        ("train/cat/001", (1,), "train"),
        ("train/cat/sub/003", (1,), "train"),
        ("train/dog/001", (2,), "train"),
        ("val/dog/002", (2,), "val"),
    ]
    after = make(ClassFoldersData(root=root, **change), tmp_path / "b")
    assert told(after) != told(before)


@pytest.mark.parametrize(
    "change",
    [
        {"images": "other"},
        {"tags": "sub.json"},
        {"classes": ("dog", "cat")},
        {"splits": {"train": "val", "val": "train"}},
        {"masks": "images/sub"},
    ],
    ids=str,
)
def test_knobs_of_json_are_alive(tmp_path, change):
    root = fakes.write_json_table(tmp_path / "data")
    (root / "other").symlink_to(root / "images")
    (root / "sub.json").write_text('{"image": "sub/c", "tags": ["cat"]}')
    before = make(JsonData(root=root), tmp_path / "a")
    assert [(image.name, image.tags, image.split) for image in before.images] == [
        ("a", (1, 2), "train"),
        ("b", (1, 2), "val"),
        ("sub/c", (), "train"),
    ]
    assert told(make(JsonData(root=root, **change), tmp_path / "b")) != told(before)


@pytest.mark.parametrize(
    "change",
    [
        {"lists": {"train": "train.txt", "val": ""}},
        {"lists": {"train": "val.txt", "val": "train.txt"}},
        {"images": "."},
        {"labels": "other.npy"},
        {"classes": ("dog", "cat", "emu")},
        {"masks": "images"},
    ],
    ids=str,
)
def test_knobs_of_multi_hot_are_alive(tmp_path, change):
    root = fakes.write_multi_hot(tmp_path / "data")
    vectors = {name: np.ones(3) for name in (2007000032, 2007000039, 2011003276)}
    np.save(root / "other.npy", vectors)
    knobs = {"root": root, "classes": ("cat", "dog", "emu")}
    before = make(MultiHotData(**knobs), tmp_path / "a")
    assert [(image.name, image.tags, image.split) for image in before.images] == [
        ("2007_000032", (1, 3), "train"),
        ("2007_000039", (2,), "train"),
        ("2011_003276", (), "val"),
    ]
    try:
        after = told(make(MultiHotData(**(knobs | change)), tmp_path / "b"))
    except DatasetError as error:
        after = str(error)
    assert after != told(before)


@pytest.mark.parametrize(
    "change",
    [
        {"images": "other"},
        {"tags": "other.json"},
        {"field": "thumb"},
        {"control": "animal"},
        {"classes": ("dog", "cat")},
        {"splits": {"train": "val", "val": "train"}},
        {"masks": "images"},
    ],
    ids=str,
)
def test_knobs_of_label_studio_are_alive(tmp_path, change):
    root = fakes.write_label_studio(tmp_path / "data")
    (root / "other").symlink_to(root / "images")
    tasks = fakes.label_studio_tasks()
    (root / "other.json").write_text(json.dumps(tasks[:1]))
    for task in tasks:
        task["data"]["thumb"] = "d.jpg"
    (root / "label-studio.json").write_text(json.dumps(tasks))
    data = LabelStudioData(root=root)
    before = make(data, tmp_path / "a")
    assert [(image.name, image.tags, image.split) for image in before.images] == [
        ("a", (1, 2), "train"),
        ("b", (), "val"),
        ("sub/c", (2,), "train"),
    ]
    assert outcome(LabelStudioData(root=root, **change), tmp_path / "b") != told(before)


def outcome(data, folder):
    try:
        return told(make(data, folder))
    except DatasetError as error:
        return str(error)


@pytest.mark.parametrize(
    "change",
    [
        {"images": "other"},
        {"tags": "other.xml"},
        {"classes": ("dog", "cat")},
        {"splits": {"train": "val", "val": "train"}},
        {"masks": "images"},
    ],
    ids=str,
)
def test_knobs_of_cvat_are_alive(tmp_path, change):
    root = fakes.write_cvat(tmp_path / "data")
    (root / "other").symlink_to(root / "images")
    (root / "other.xml").write_text(fakes.CVAT_XML.replace('"cat"', '"emu"'))
    before = told(make(CvatData(root=root), tmp_path / "a"))
    assert outcome(CvatData(root=root, **change), tmp_path / "b") != before


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": "other.jsonl"},
        {"column": "other"},
        {"classes": ("dog", "cat")},
        {"splits": {"val": "val"}},
        {"masks": "train"},
    ],
    ids=str,
)
def test_knobs_of_image_folder_are_alive(tmp_path, change):
    root = fakes.write_image_folder(tmp_path / "data")
    row = '{"file_name": "a.jpg", "tags": "emu"}'
    (root / "train" / "other.jsonl").write_text(row)
    before = told(make(ImageFolderData(root=root), tmp_path / "a"))
    assert before[1][-1].split == "val"
    assert outcome(ImageFolderData(root=root, **change), tmp_path / "b") != before


@pytest.mark.parametrize(
    "change",
    [
        {"images": "other"},
        {"labels": "other.json"},
        {"classes": ("dog", "cat")},
        {"splits": {"train": "a", "val": "train"}},
        {"masks": "train/data"},
    ],
    ids=str,
)
def test_knobs_of_fiftyone_are_alive(tmp_path, change):
    for split in ("train", "validation"):
        root = fakes.write_fiftyone(tmp_path / "data" / split)
        (root / "other").symlink_to(root / "data")
        (root / "other.json").write_text('{"labels": {"a": "emu"}}')
    root = root.parent
    before = told(make(FiftyOneData(root=root), tmp_path / "a"))
    assert before[1][-1].split == "val"
    assert outcome(FiftyOneData(root=root, **change), tmp_path / "b") != before
