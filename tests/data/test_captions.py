import re

import numpy as np
import pytest

from fakes import write_picture
from tag2mask.data.captions import read_captions
from tag2mask.data.images import read_image
from tag2mask.data.toy import SPLITS, VERSION, draw_scene, write_toy_world
from tag2mask.data.toy_captions import toy_caption_seed, write_toy_captions
from tag2mask.errors import DatasetError


def write_pairs(root, table, images=("a.png", "sub/b.jpg")):
    for number, name in enumerate(images):
        write_picture(root / "images" / name, number)
    (root / "captions.csv").write_text(table)
    return root


def test_pairs_are_read_in_their_order(tmp_path):
    table = 'image,caption\nsub/b,"a cow, grazing"\na.png, a car \na,again\n'
    pairs = read_captions(write_pairs(tmp_path, table))
    files = [pair.path.relative_to(tmp_path).as_posix() for pair in pairs]
    assert files == ["images/sub/b.jpg", "images/a.png", "images/a.png"]
    assert [pair.caption for pair in pairs] == ["a cow, grazing", "a car", "again"]


def test_a_column_without_a_name_does_not_count(tmp_path):
    """As pandas writes an index."""
    pairs = read_captions(write_pairs(tmp_path, ",image,caption\n0,a,a car\n"))
    assert [pair.caption for pair in pairs] == ["a car"]


def test_only_the_split_train_is_taken(tmp_path):
    table = "image,split,caption\na,train,a car\nsub/b,val,\n"
    assert [p.caption for p in read_captions(write_pairs(tmp_path, table))] == ["a car"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "image,caption\nc,a car\n",
            r"captions\.csv, line 2: image 'c' has no file in",
        ),
        ("image,caption\na,x\na, \n", "line 3: the caption of image 'a' is empty; wri"),
        ("image,caption\na,x,y\n", "line 2: more fields than columns; quote the capt"),
        ("image,caption\na\n", "line 2: the caption of image 'a' is empty"),
        ("image,caption\n", r"captions\.csv lists no pair of image and caption"),
        ("image,caption,split\na,x,val\n", "lists no pair of image and caption"),
        ("name,text\na,x\n", "expected the columns image, caption .*; image and capti"),
        ("", "image and caption not among none"),
        ('image,caption\na,"x', "cannot be read as a CSV table"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, table, message):
    with pytest.raises(DatasetError, match=message):
        read_captions(write_pairs(tmp_path, table))


def test_an_image_of_two_suffixes_needs_its_own(tmp_path):
    images = ("a.png", "a.jpg")
    table = "image,caption\na,x\n"
    with pytest.raises(DatasetError, match=r"could be a\.jpg and a\.png; write the su"):
        read_captions(write_pairs(tmp_path, table, images))
    (pair,) = read_captions(write_pairs(tmp_path, "image,caption\na.jpg,x\n", images))
    assert pair.path.name == "a.jpg"


def test_a_missing_table_is_told(tmp_path):
    message = f"there is no table of captions {tmp_path / 'captions.csv'}; write one"
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_captions(tmp_path)


def test_a_toy_world_is_a_folder_of_pairs(world):
    pairs = read_captions(world)
    assert len(pairs) == 8  # those of its train split
    assert all(pair.path.name.startswith("train_") for pair in pairs)


def test_toy_captions_are_said_of_their_scenes(tmp_path):
    write_toy_captions(tmp_path, num_pairs=3, random_seed=5, size=40)
    pairs = read_captions(tmp_path)
    assert len(pairs) == 3
    for i, pair in enumerate(pairs):
        seed = toy_caption_seed(i, random_seed=5, size=40)
        scene = draw_scene(np.random.default_rng(seed), 40)
        assert np.array_equal(read_image(pair.path), scene.image)
        assert pair.caption == scene.caption
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "captions.csv",
        "images",
    ]


@pytest.mark.parametrize("random_seed", [0, 1, 2**40])
def test_no_split_of_any_world_has_the_seed_of_a_caption_scene(random_seed):
    seed = toy_caption_seed(7, random_seed=random_seed, size=64)
    assert seed not in [
        [VERSION, random_seed, place, 7, 64] for place in range(len(SPLITS))
    ]
    # so that a split that is added does not take the place of the captions
    assert seed[2] >= len(SPLITS) + 100
    assert (seed[0], seed[1], *seed[3:]) == (VERSION, random_seed, 7, 64)


def test_no_caption_scene_is_in_a_world_of_its_random_seed(tmp_path):
    write_toy_captions(tmp_path / "pairs", num_pairs=6, random_seed=0, size=32)
    write_toy_world(tmp_path / "world", num_train=6, num_val=6, random_seed=0, size=32)
    scenes = [
        read_image(path).tobytes()
        for root in ("pairs", "world")
        for path in (tmp_path / root / "images").iterdir()
    ]
    assert len(set(scenes)) == len(scenes) == 18


@pytest.mark.parametrize(
    ("knob", "message"),
    [
        ({"num_pairs": 0}, "num_pairs: expected at least 1, came 0"),
        ({"random_seed": -1}, "random_seed: expected at least 0, came -1"),
        ({"size": 31}, "size: expected at least 32 pixels, came 31"),
    ],
)
def test_a_wrong_number_is_named(tmp_path, knob, message):
    with pytest.raises(ValueError, match=message):
        write_toy_captions(
            tmp_path, **({"num_pairs": 1, "random_seed": 0, "size": 32} | knob)
        )
    assert not list(tmp_path.iterdir())
