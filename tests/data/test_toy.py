import csv
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tag2mask.data.classes import describe_classes, read_class_prompts
from tag2mask.data.toy import (
    CLASSES,
    VERSION,
    Scene,
    draw_scene,
    write_toy_world,
)
from tag2mask.data.toy_figures import FIGURES, draw_figure
from tag2mask.data.toy_grounds import PLACES, draw_ground
from tag2mask.functional.palette import voc_palette

GOLDEN = "19a4a547c4cb4c7f054ef1a1e8ce960f155918cbdba513d5efb0d81a8d7b7251"


def scene(i: int, *, random_seed: int = 0, size: int = 64) -> Scene:
    return draw_scene(np.random.default_rng([random_seed, i]), size)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [scene(i) for i in range(200)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy")
    write_toy_world(root, num_train=4, num_val=2, random_seed=3, size=48)
    return root


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_the_world_is_frozen_by_its_version():
    digest = hashlib.sha256()
    for i in range(8):
        drawn = scene(i, size=128)
        digest.update(drawn.image.tobytes())
        digest.update(drawn.mask.tobytes())
        digest.update(repr((drawn.tags, drawn.caption)).encode())
    assert (VERSION, digest.hexdigest()) == (1, GOLDEN), (
        "the toy world draws other scenes: raise VERSION and say so in the changelog"
    )


def test_a_scene_depends_on_its_generator_only():
    first, again = scene(5), scene(5)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert (first.tags, first.caption) == (again.tags, again.caption)


def test_tags_are_the_classes_visible_in_the_mask(scenes):
    for drawn in scenes:
        seen, counts = np.unique(drawn.mask, return_counts=True)
        assert set(seen.tolist()) <= {0, 1, 2, 3, 4, 5, 6, 255}
        areas = dict(zip(seen.tolist(), counts.tolist(), strict=True))
        assert drawn.tags == tuple(k for k in range(1, 7) if k in areas)
        # 64 * 64 / 400 = 10.24: a class on 10 pixels would be ignored
        assert all(areas[k] >= 11 for k in drawn.tags)


def test_every_class_is_common_and_one_or_two_are_tagged(scenes):
    counts = np.bincount([k for drawn in scenes for k in drawn.tags], minlength=7)
    assert counts[1:].min() > 12
    assert {len(drawn.tags) for drawn in scenes} == {1, 2}


def test_objects_are_outlined_by_ignored_pixels(scenes):
    for drawn in scenes:
        mask = drawn.mask.astype(int)
        for near, far in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            differ = near != far
            assert (np.maximum(near, far)[differ] == 255).all()


def test_a_class_stands_on_its_companion_nine_times_in_ten(scenes):
    own = other = 0
    for drawn in scenes:
        for name, ground in zip(CLASSES, PLACES, strict=True):
            place = rf"{name}s? ((?:on|in) (?:the |a )?\w+)"
            for where in re.findall(place, drawn.caption):
                assert where in PLACES
                own += where == ground
                other += where != ground
    # 250 draws at 0.9 have a standard deviation of 0.019
    assert own + other > 220
    assert 0.85 < own / (own + other) < 0.95


def test_a_caption_names_exactly_the_tags(scenes):
    for drawn in scenes:
        named = [k for k in range(1, 7) if CLASSES[k - 1] in drawn.caption]
        assert tuple(named) == drawn.tags, drawn.caption


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_the_telling_part_is_small(figure):
    sprite = draw_figure(np.random.default_rng(0), figure, height=60, mirror=False)
    assert not (sprite.telling & ~sprite.covered).any()
    assert 0.03 < sprite.telling.sum() / sprite.covered.sum() < 0.25


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_mirror_turns_a_figure_round(figure):
    left, right = (
        draw_figure(np.random.default_rng(0), figure, height=60, mirror=mirror)
        for mirror in (False, True)
    )
    assert np.array_equal(left.telling, right.telling[:, ::-1])


def test_horizon_is_where_the_ground_begins():
    low, high = (
        draw_ground(np.random.default_rng(0), 3, size=64, horizon=horizon)
        for horizon in (40, 8)
    )
    assert np.array_equal(low[40:], high[40:])
    assert not np.array_equal(low[8:40], high[8:40])


@pytest.mark.parametrize("size", [32, 97, 160])
def test_size_is_height_and_width(size):
    drawn = scene(0, size=size)
    assert drawn.image.shape == (size, size, 3)
    assert drawn.mask.shape == (size, size)
    assert drawn.image.dtype == drawn.mask.dtype == np.uint8


def test_a_folder_has_the_plain_layout(world):
    names = ["train_00000", "train_00001", "train_00002", "train_00003"]
    names += ["val_00000", "val_00001"]
    pictures = [f"{kind}/{n}.png" for kind in ("images", "masks") for n in names]
    assert sorted(contents(world)) == sorted(
        [*pictures, "captions.csv", "classes.txt", "prompts.toml", "tags.csv"]
    )
    assert (world / "classes.txt").read_text().split() == list(CLASSES)
    prompts = read_class_prompts(
        world / "prompts.toml", describe_classes(CLASSES, preset="plain")
    )
    # the companion comes first, and is said in the captions of its class
    first = [each.background[0] for each in prompts]
    assert first == ["rails", "water", "sky", "grass", "road", "snow"]
    assert all(word in place for word, place in zip(first, PLACES, strict=True))
    rows = table(world / "tags.csv")
    assert [row["image"] for row in rows] == names
    assert [row["split"] for row in rows] == ["train"] * 4 + ["val"] * 2
    for row, said in zip(rows, table(world / "captions.csv"), strict=True):
        assert (row["image"], row["split"]) == (said["image"], said["split"])
        assert all(tag in said["caption"] for tag in row["tags"].split(";"))


def test_files_hold_the_scenes(world):
    for row in table(world / "tags.csv"):
        with Image.open(world / "images" / f"{row['image']}.png") as picture:
            assert (picture.mode, picture.size) == ("RGB", (48, 48))
        with Image.open(world / "masks" / f"{row['image']}.png") as picture:
            assert (picture.mode, picture.size) == ("P", (48, 48))
            assert picture.getpalette() == voc_palette()
            labels = np.unique(np.array(picture))
        tags = [CLASSES[k - 1] for k in labels if 0 < k < 255]
        assert row["tags"].split(";") == tags


def test_the_same_request_writes_the_same_bytes(world, tmp_path):
    write_toy_world(tmp_path, num_train=4, num_val=2, random_seed=3, size=48)
    assert contents(tmp_path) == contents(world)


def test_a_larger_world_begins_with_the_smaller(world, tmp_path):
    write_toy_world(tmp_path, num_train=5, num_val=3, random_seed=3, size=48)
    larger, smaller = contents(tmp_path), contents(world)
    shared = [name for name in smaller if name.endswith(".png")]
    assert len(shared) == 12
    assert all(larger[name] == smaller[name] for name in shared)


@pytest.mark.parametrize("knob", [{"random_seed": 4}, {"size": 49}])
def test_another_knob_gives_another_world(world, tmp_path, knob):
    asked = {"num_train": 4, "num_val": 2, "random_seed": 3, "size": 48} | knob
    write_toy_world(tmp_path, **asked)
    mine, theirs = contents(tmp_path), contents(world)
    pictures = [name for name in theirs if name.startswith("images/")]
    assert not any(mine[name] == theirs[name] for name in pictures)


def test_splits_share_no_scene(world):
    images = [v for name, v in contents(world).items() if name.startswith("images/")]
    assert len(set(images)) == 6


@pytest.mark.parametrize(
    ("knob", "value", "least"),
    [("num_train", 0, 1), ("num_val", -1, 0), ("random_seed", -1, 0), ("size", 31, 32)],
)
def test_a_wrong_number_is_named(tmp_path, knob, value, least):
    asked = {"num_train": 1, "num_val": 1, "random_seed": 0, "size": 32} | {knob: value}
    message = f"{knob}: expected at least {least}, came {value}"
    with pytest.raises(ValueError, match=message):
        write_toy_world(tmp_path, **asked)
    assert not list(tmp_path.iterdir())


def test_a_scene_too_small_for_telling_parts_is_refused():
    with pytest.raises(ValueError, match="size: expected at least 32 pixels, came 16"):
        scene(0, size=16)
