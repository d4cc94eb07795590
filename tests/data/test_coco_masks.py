import numpy as np
import pytest
from pycocotools import mask as coder

import fakes
from tag2mask.data.coco_masks import CocoMasks
from tag2mask.errors import DatasetError

H, W = fakes.HEIGHT, fakes.WIDTH
PERSON, TRAIN, BRUSH = 1, 2, 4
"""Ids in masks of the fakes' categories 1, 7 and 90."""


@pytest.fixture
def path(tmp_path):
    root = fakes.write_coco(tmp_path / "coco")
    return root / "annotations" / "instances_train2014.json"


def draw(path, number=9):
    masks = CocoMasks(path)
    (image,) = (each for each in masks.images if each["id"] == number)
    return masks.draw(image)


def redraw(path, *annotations, number=9):
    """Draw an image whose annotations are these: category, outline, crowd."""

    def change(content):
        content["annotations"] = [
            {
                "id": place,
                "image_id": number,
                "category_id": category,
                "segmentation": outline,
                "iscrowd": is_crowd,
            }
            for place, (category, outline, is_crowd) in enumerate(annotations)
        ]

    fakes.change_json(path, change)
    return draw(path, number)


def complaint(path, outline):
    with pytest.raises(DatasetError) as caught:
        redraw(path, (7, outline, 0))
    start = f"{path}: annotation 0 of COCO_train2014_000000000009.jpg: "
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("; correct or remove it")
    return str(caught.value).removeprefix(start).removesuffix("; correct or remove it")


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_published_form_with_the_smaller_instance_on_top(path):
    expected = np.zeros((H, W), np.uint8)
    expected[1:7, 2:8] = TRAIN
    expected[2:5, 3:5] = expected[2:5, 9:11] = PERSON
    expected[7, 11] = TRAIN
    assert np.array_equal(draw(path), expected)


def test_order_in_the_file_does_not_matter(path):
    large, small = (7, box(1, 1, 9, 7), 0), (1, box(2, 2, 4, 4), 0)
    assert np.array_equal(redraw(path, large, small), redraw(path, small, large))


def test_earlier_of_two_of_one_size_is_on_top(path):
    found = redraw(path, (7, box(1, 1, 4, 4), 0), (1, box(2, 1, 5, 4), 0))
    assert found[1, :6].tolist() == [0, TRAIN, TRAIN, TRAIN, PERSON, 0]


def test_crowd_is_ignored_below_instances(path):
    found = draw(path, 25)
    assert (found[:, :3] == 255).all()
    assert not found[:, 3:].any()
    crowd = fakes.coco_outline("crowd")[0]
    found = redraw(path, (7, box(2, 0, 4, 8), 0), (90, crowd, 1))
    assert found[0, :5].tolist() == [255, 255, TRAIN, TRAIN, 0]


def test_image_without_annotations_is_background(path):
    assert not draw(path, 30).any()


def test_compressed_code_is_its_uncompressed_self(path):
    pixels = np.random.default_rng(0).integers(0, 2, (H, W)).astype(np.uint8)
    whole = coder.encode(np.asfortranarray(pixels))
    code = {"size": [H, W], "counts": whole["counts"].decode()}
    flat = pixels.T.ravel()
    starts = [0, *np.flatnonzero(np.diff(flat)) + 1, flat.size]
    runs = [0] * int(flat[0]) + np.diff(starts).tolist()
    compressed = redraw(path, (90, code, 0))
    plain = redraw(path, (90, {"size": [H, W], "counts": runs}, 0))
    assert np.array_equal(compressed, pixels * BRUSH)
    assert np.array_equal(plain, compressed)


@pytest.mark.parametrize(
    ("outline", "message"),
    [
        (None, "it has no outline"),
        ([], "it has no outline"),
        ("x", "it has no outline"),
        ([["a", "b"]], "it has no outline"),
        ([3], "it has no outline"),
        ([[1, 1, 2, 2]], "a polygon must have three corners or more"),
        ([[1, 1, 2, 2, 3, 3, 4]], "a polygon must have three corners or more"),
        (box(0, 0, 1e9, 4), "a corner of a polygon is far outside of the image"),
        ([[1, 1, 2, 2, float("nan"), 3]], "a corner of a polygon is far outside"),
        ({"size": [W, H], "counts": [96]}, "its size is not that of the image, 8x12"),
        ({"size": [H, W], "counts": [95]}, "the runs of its code do not fill the ima"),
        ({"size": [H, W], "counts": [97, -1]}, "the runs of its code do not fill"),
        ({"size": [H, W], "counts": ["a"]}, "it has no outline"),
        ({"size": [H, W]}, "the runs of its code do not fill the image"),
        ({"size": [H, W], "counts": "~~~~"}, "its compressed code is damaged"),
        ({"size": [H, W], "counts": "2"}, "the runs of its code do not fill"),
        ({"size": [H, W], "counts": ""}, "the runs of its code do not fill"),
        ({"size": [H, W], "counts": "P"}, "its compressed code is cut off"),
        ({"size": [H, W], "counts": "o" * 20}, "its compressed code is damaged"),
    ],
    ids=str,
)
def test_outline_that_is_none_is_named(path, outline, message):
    assert complaint(path, outline).startswith(message)


@pytest.mark.parametrize(
    "size", [{}, {"height": 0}, {"width": "12"}, {"width": True}, {"width": 10**9}]
)
def test_image_without_a_size_is_named(path, size):
    def change(content):
        content["images"][0].pop("height")
        content["images"][0] |= size and {"height": H} | size

    fakes.change_json(path, change)
    with pytest.raises(DatasetError, match=r"000009\.jpg has no height and width of"):
        draw(path)


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "", "b/../../a.jpg"])
def test_file_name_that_leads_elsewhere_is_refused(path, name):
    fakes.change_json(path, lambda each: each["images"][0].update(file_name=name))
    with pytest.raises(DatasetError, match="is no path below an image folder"):
        CocoMasks(path)


@pytest.mark.parametrize("seed", range(20))
def test_compressed_codes_of_any_run_are_read(path, seed):
    random = np.random.default_rng(seed)
    runs = random.integers(1, 5000, random.integers(1, 30)).tolist()
    size = [1, sum(runs)]
    code = coder.frPyObjects({"size": size, "counts": runs}, *size)["counts"]

    def change(content):
        content["images"][0] |= {"height": size[0], "width": size[1]}

    fakes.change_json(path, change)
    outline = {"size": size, "counts": code.decode()}
    expected = np.repeat(np.arange(len(runs)) % 2, runs) * TRAIN
    assert np.array_equal(redraw(path, (7, outline, 0))[0], expected)
