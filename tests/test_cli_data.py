"""``tag2mask data``: what people read of their data sets."""

import json
import re
import subprocess
import sys
from functools import partial

import pytest
from PIL import Image

import fakes

OPTIONS = {
    "check": {"--set", "--out", "--workers"},
    "label-studio-masks": {"--out", "--classes", "--workers"},
    "coco-masks": {"--out", "--workers"},
}


@pytest.fixture
def call(call_cli):
    """Run ``tag2mask data``."""
    return partial(call_cli, "data")


@pytest.fixture
def folder(tmp_path):
    """Two images for training, one for validation, with a mask and a class list."""
    root = tmp_path / "photos"
    for number, name in enumerate("abc"):
        fakes.write_picture(root / "images" / f"{name}.png", number)
    fakes.write_mask(root / "masks" / "c.png", 2)
    (root / "classes.txt").write_text("cat\ndog\nemu\n")
    (root / "tags.csv").write_text(
        "image,tags,split\na,cat,train\nb,cat;dog,train\nc,,val\n"
    )
    return root


@pytest.mark.parametrize("command", OPTIONS)
def test_help_lists_the_options(command):
    done = subprocess.run(
        [sys.executable, "-m", "tag2mask.cli", "data", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    options = set(re.findall(r"(?<![\w-])--[a-z-]+", done.stdout))
    assert options == OPTIONS[command] | {"--help"}


def test_check_of_a_folder(call, folder):
    code, lines, _ = call("check", folder)
    assert code == 0
    assert lines == [
        f"layout folder in {folder}, masks masks",
        " train val",
        "images 2 1",
        "with tags 2 0",
        "without tags 0 1",
        "tags per image 1.50 0.00",
        "masks 0 1",
        "class train val",
        "cat 2 0",
        "dog 1 0",
        "emu 0 0",
        "pixels: 12 to 12 wide, 8 to 8 high",
        "images by their longer side: 1-127: 3",
        "warning: too rare to be learnt, with fewer than 50 training images: cat (2), "
        "dog (1), emu (0)",
        "warning: cat is on 2 of 2 training images: hardly one shows what it is not",
        "note: images without a tag, of background only: 1",
        "no problem",
    ]


def test_range_of_sizes(call, folder):
    Image.new("RGB", (30, 5)).save(folder / "images" / "a.png")
    _, lines, _ = call("check", folder)
    assert "pixels: 12 to 30 wide, 5 to 8 high" in lines


def test_check_takes_recipes_and_changes(call, folder, recipe_file):
    root = f"data.root={folder}"
    code, lines, _ = call("check", recipe_file, "--set", root, "--set", "data.masks=")
    assert (code, lines[0]) == (0, f"layout folder in {folder}")
    code, lines, error = call("check", folder, "--set", "data.splits.val=x")
    assert lines[1].split() == ["train"]
    code, _, error = call("check", folder, "--set", "data.tgas=x")
    assert code == 1
    assert f"the settings of {folder} are not right:" in error
    assert "data.tgas: there is no such key; did you mean 'tags'?" in error


def test_check_lists_every_problem_and_counts_the_rest(call, folder):
    with (folder / "tags.csv").open("a") as stream:
        stream.writelines(f"x{number},cat,train\n" for number in range(60))
    (folder / "images" / "a.png").write_bytes(b"")
    Image.new("L", (5, 5)).save(folder / "masks" / "c.png")
    code, lines, error = call("check", folder)
    problems = [line for line in lines if line.startswith("problem: ")]
    assert code == 1
    assert error.endswith("tag2mask: problems with the data: 62\n")
    assert len(problems) == 62
    assert problems[59] == (
        f"problem: {folder}/tags.csv: image 'x59' has no file in {folder}/images"
    )
    assert "a.png cannot be read as an image" in problems[60]
    assert "the mask is 5x5 but belongs to 12x8 pixels" in problems[61]
    assert "images 2 1" in lines


def test_missing_mask_folder_is_a_problem(call, folder):
    code, lines, _ = call("check", folder, "--set", "data.masks=no")
    assert code == 1
    assert f"problem: there is no mask folder {folder}/no; check data.masks" in lines


def test_voc_is_guessed_and_stands_beside_what_is_published(call, tmp_path):
    root = fakes.write_voc(tmp_path / "VOC2012")
    code, lines, _ = call("check", root)
    assert (code, lines[0]) == (0, f"layout voc in {root}, masks SegmentationClass")
    assert "images 2 (published: 1464) 1 (published: 1449)" in lines
    assert "with tags 2 1" in lines
    assert "masks 2 1" in lines
    assert len([line for line in lines if re.fullmatch(r"\w+ \d \d", line)]) == 21
    for name in ("trainaug", "train_aug"):
        _, lines, _ = call("check", root, "--set", f"data.lists.train={name}")
        assert "images 3 (published: 10582) 1 (published: 1449)" in lines


def test_data_that_only_looks_like_voc_has_no_published_counts(call, tmp_path):
    root = fakes.write_voc(tmp_path / "mine")
    names = '["aeroplane", "cat", "dog", "person", "sofa", "tvmonitor"]'
    changes = ("--set", f"data.classes={names}", "--set", "data.masks=")
    _, lines, _ = call("check", root, *changes)
    assert "images 2 1" in lines


def test_voc_without_masks_is_guessed(call, tmp_path):
    root = fakes.write_voc(tmp_path / "VOC2012")
    (root / "SegmentationClass").rename(tmp_path / "away")
    code, lines, _ = call("check", root)
    assert (code, lines[0]) == (0, f"layout voc in {root}")


@pytest.mark.parametrize(
    ("year", "images", "tagged"),
    [
        (2014, "images 3 (published: 82783) 1 (published: 40504)",
         "with tags 2 (published: 82081) 1 (published: 40137)"),
        (2017, "images 3 (published: 118287) 1 (published: 5000)",
         "with tags 2 (published: 117266) 1 (published: 4952)"),
    ],
)  # fmt: skip
def test_coco_stands_beside_what_is_published(call, tmp_path, year, images, tagged):
    root = fakes.write_coco(tmp_path / "coco", year)
    changes = ["data.layout=coco"]
    for split in ("train", "val"):
        changes.append(f"data.{split}.images={split}{year}")
        file = f"annotations/instances_{split}{year}.json"
        changes.append(f"data.{split}.annotations={file}")
    options = [part for change in changes for part in ("--set", change)]
    code, lines, _ = call("check", root, *options)
    assert code == 0
    assert images in lines
    assert tagged in lines
    _, lines, _ = call("check", root, *options, "--set", "data.untagged=false")
    assert tagged.replace("with tags", "images") in lines
    assert tagged in lines
    _, lines, _ = call("check", root, *options, "--set", "data.crowd=false")
    assert images in lines
    assert "with tags 1 1" in lines


def test_folder_that_cannot_be_guessed_is_told(call, tmp_path):
    code, _, error = call("check", tmp_path)
    assert code == 1
    assert f"{tmp_path} holds neither tags.csv nor JPEGImages and ImageSets" in error
    assert "say --set data.layout=... or give a recipe" in error


def test_what_is_missing_is_told(call, tmp_path):
    code, _, error = call("check", tmp_path / "no.toml")
    assert code == 1
    assert "there is no recipe" in error
    code, _, error = call("check", tmp_path / "my-dta")
    assert code == 1
    assert f"there is no folder {tmp_path / 'my-dta'}" in " ".join(error.split())
    (tmp_path / "tags.csv").touch()
    code, _, error = call("check", tmp_path)
    assert (code, "there is no image folder" in error) == (1, True)


def test_masks_of_coco_are_drawn_and_fit_the_layout(call, tmp_path):
    root = fakes.write_coco(tmp_path / "coco")
    for split, count in (("train", 3), ("val", 1)):
        file = root / "annotations" / f"instances_{split}2014.json"
        code, lines, _ = call("coco-masks", file, "--out", root / "masks")
        assert (code, lines) == (0, [f"{count} masks in {root}/masks"])
    changes = ("--set", "data.layout=coco", "--set", "data.masks=masks")
    code, lines, _ = call("check", root, *changes)
    assert code == 0
    assert "masks 3 1" in lines


def test_masks_that_cannot_be_drawn_are_named_and_the_others_written(call, tmp_path):
    root = fakes.write_coco(tmp_path / "coco")
    path = root / "annotations" / "instances_train2014.json"

    def spoil(content):
        content["annotations"][0]["segmentation"] = [[1, 2, 3, 4]]
        content["annotations"][3]["category_id"] = 2

    fakes.change_json(path, spoil)
    code, _, error = call("coco-masks", path, "--out", tmp_path / "masks")
    assert code == 1
    assert error.splitlines()[-3:] == [
        "tag2mask: 2 masks are not written:",
        f"  {path}: annotation 900100000000 of COCO_train2014_000000000009.jpg: a "
        "polygon must have three corners or more; correct or remove it",
        f"  {path}: annotation 900100000003 of COCO_train2014_000000000025.jpg has the "
        "category_id 2, but there is no such category; correct or remove it",
    ]
    assert [each.name for each in (tmp_path / "masks").iterdir()] == [
        "COCO_train2014_000000000030.png"
    ]


def test_missing_pycocotools_is_told_with_its_cure(call, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    code, _, error = call("coco-masks", tmp_path / "x.json", "--out", tmp_path)
    assert code == 1
    assert 'install it with pip install "tag2mask[coco]"' in error


def test_page_of_a_check(call, folder, tmp_path):
    (folder / "classes.txt").write_text("cat\ndog\n<b>&emu\n")
    page = tmp_path / "check.html"
    code, lines, _ = call("check", folder, "--out", page)
    assert code == 0
    assert f"page: {page}" in lines
    text = page.read_text()
    assert "&lt;b&gt;&amp;emu" in text
    assert "<b>" not in text
    # of the two images with a cat one has a dog, and the one with a dog has a cat
    cells = re.findall(r'<td style="--share: ([0-9.]+)">(\d+)</td>', text)
    assert cells[:2] == [("0.00", "2"), ("0.50", "50")]
    assert cells[3:5] == [("1.00", "100"), ("0.00", "1")]
    assert "1-127" in text
    assert "too rare to be learnt" in text
    assert "http" not in text.replace("<!DOCTYPE html>", "")


@pytest.mark.parametrize(
    ("write", "layout"),
    [
        (fakes.write_label_studio, "label_studio"),
        (fakes.write_cvat, "cvat"),
        (fakes.write_image_folder, "image_folder"),
        (fakes.write_fiftyone, "fiftyone"),
    ],
)
def test_exports_of_other_tools_are_guessed(call, tmp_path, write, layout):
    code, lines, _ = call("check", write(tmp_path))
    assert (code, lines[0]) == (0, f"layout {layout} in {tmp_path}")


def test_masks_corrected_in_label_studio_come_back(call, tmp_path):
    labels = tmp_path / "labels"
    fakes.write_mask(labels / "sub" / "a.png", 2)
    (labels / "classes.json").write_text('["background", "cat", "dog"]')
    code, _, error = call_cli_export(call, labels, tmp_path / "out")
    assert code == 0, error
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text())
    for number, task in enumerate(tasks):  # as Label Studio exports what was accepted
        task["id"] = number
        task["annotations"] = task.pop("predictions")
    export = tmp_path / "export.json"
    export.write_text(json.dumps([*tasks, {"data": {"image": "x"}, "annotations": []}]))
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    arguments = ("label-studio-masks", export, "--out", tmp_path / "masks")
    arguments += ("--classes", tmp_path / "classes.txt")
    code, lines, error = call(*arguments)
    assert (code, lines) == (0, [f"1 masks in {tmp_path}/masks"])
    found = Image.open(tmp_path / "masks" / "sub" / "a.png")
    assert found.tobytes() == Image.open(labels / "sub" / "a.png").tobytes()
    tasks[0]["annotations"][0]["result"][0]["value"]["brushlabels"] = ["tea"]
    tasks.append(tasks[0] | {"data": {"image": "../.."}, "id": 5})
    export.write_text(json.dumps(tasks))
    code, _, error = call(*arguments)
    assert code == 1
    assert "2 masks are not written:" in error
    assert f"{export}: task 0: the label 'tea' is no class" in error


def call_cli_export(call, labels, out):
    run = call.func
    options = ("--format", "label-studio", "--out", out)
    return run("export", "masks", labels, *options)
