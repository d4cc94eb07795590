import dataclasses
import json

import numpy as np
import pytest
import torch

from tag2mask.data.captions import read_captions
from tag2mask.data.toy_captions import write_toy_captions
from tag2mask.engine import loop
from tag2mask.engine.runtime import Runtime
from tag2mask.engine.training_log import read_log
from tag2mask.errors import DatasetError
from tag2mask.models.image_text.tiny import CARD, WEIGHTS, load_tiny
from tag2mask.models.weights import read_weights
from tag2mask.stages import image_text
from tag2mask.stages.image_text import (
    TinyTraining,
    draw_mask,
    draw_text,
    group_by_contents,
)

SHORT = TinyTraining(steps=6, batch=4, warmup=1)


class CrashError(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    root = tmp_path_factory.mktemp("captions")
    write_toy_captions(root, num_pairs=8, random_seed=0, size=64)
    return read_captions(root)


def train(pairs, folder, settings=SHORT, random_seed=0):
    image_text.run(
        pairs,
        settings,
        folder,
        random_seed=random_seed,
        runtime=Runtime(workers=1),
        command="by hand",
    )
    return read_weights(folder / WEIGHTS)


def are_equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one | other)


def test_loss_falls_and_what_is_written_loads(pairs, tmp_path):
    settings = dataclasses.replace(SHORT, steps=30, batch=8, mask_share=0.0)
    train(pairs, tmp_path, settings)
    losses = [float(row["matching"]) for row in read_log(tmp_path)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    model = load_tiny(tmp_path)
    assert model.encode_texts(["a photo of train."]).shape == (1, 64)
    card = json.loads((tmp_path / CARD).read_text())
    assert card["training"]["steps"] == 30
    assert (card["num_pairs"], card["command"]) == (8, "by hand")
    assert {"boat", "photo", "snapshot"} <= set(card["words"])
    assert not (tmp_path / loop.CHECKPOINT).exists()


@pytest.mark.parametrize("step", [1, 4])
def test_interrupted_and_resumed_is_unbroken(pairs, tmp_path, monkeypatch, step):
    unbroken = train(pairs, tmp_path / "unbroken")
    losses = image_text._losses

    def stop(towers, batch, number):
        if number == step:
            raise CrashError
        return losses(towers, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(image_text, "_losses", stop)
        with pytest.raises(CrashError):
            train(pairs, tmp_path / "broken")
    assert are_equal(train(pairs, tmp_path / "broken"), unbroken)


def test_finished_weights_are_not_trained_further(pairs, tmp_path):
    first = train(pairs, tmp_path)
    assert are_equal(train(pairs, tmp_path, random_seed=1), first)


@pytest.fixture(scope="module")
def usual(pairs, tmp_path_factory):
    settings = dataclasses.replace(SHORT, steps=3)
    return train(pairs, tmp_path_factory.mktemp("usual"), settings)


@pytest.mark.parametrize(
    "knob",
    [
        {"steps": 5},
        {"batch": 5},
        {"num_texts": 3},
        {"learning_rate": 1e-3},
        {"weight_decay": 0.5},
        {"warmup": 3},
        {"whole_share": 1.0},
        {"mask_share": 0.0},
        {"rescale": (1.0, 1.0)},
        {"colour_jitter": 0.5},
    ],
    ids=lambda knob: next(iter(knob)),
)
def test_every_knob_is_alive(pairs, tmp_path, usual, knob):
    changed = dataclasses.replace(SHORT, **({"steps": 3} | knob))
    assert not are_equal(usual, train(pairs, tmp_path, changed))


def test_random_seed_is_alive(pairs, tmp_path):
    settings = dataclasses.replace(SHORT, steps=1)
    one = train(pairs, tmp_path / "one", settings, random_seed=1)
    assert not are_equal(one, train(pairs, tmp_path / "two", settings, random_seed=2))


def test_an_image_that_cannot_be_read_is_named(pairs, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"broken\.png cannot be read as an image"):
        train([pairs[0]._replace(path=broken)], tmp_path / "model")


def test_a_text_is_the_caption_or_some_of_its_words_in_a_prompt():
    caption = "a picture of two boats on the water and a car in the snow"
    rng = np.random.default_rng(0)
    texts = [draw_text(caption, rng, whole_share=0.25) for _ in range(400)]
    whole = sum(text == caption for text in texts)
    assert 70 < whole < 130  # 400 draws at 1/4: standard deviation 8.7
    others = {text for text in texts if text != caption}
    assert {"a photo of boat.", "water", "an image of boat on the water."} <= others
    starts = ("boat", "water", "car", "snow")
    for text in others:
        few = text.partition(" of ")[2] or text
        assert few.startswith(starts)
        assert few.rstrip(".") in "boat on the water and a car in the snow"


@pytest.mark.parametrize("caption", ["we see a picture", "…"])
def test_a_caption_that_names_nothing_stays_whole(caption):
    rng = np.random.default_rng(0)
    assert draw_text(caption, rng, whole_share=0.0) == caption


def test_masks_are_smooth_and_between_nothing_and_all():
    rng = np.random.default_rng(0)
    masks = torch.stack([draw_mask(rng, 64) for _ in range(40)])
    assert masks.shape == (40, 64, 64)
    assert 0 <= masks.min() < 0.05
    assert 0.95 < masks.max() <= 1
    assert masks.diff(dim=1).abs().mean() < 0.05
    assert 0.5 < masks.mean() < 0.9


def test_captions_that_name_the_same_are_one_group(pairs):
    def said(*captions):
        given = [pairs[0]._replace(caption=caption) for caption in captions]
        return [[p.caption for p in each] for each in group_by_contents(given)]

    assert said("a car on a road", "a cow", "we see two cars on the road") == [
        ["a car on a road", "we see two cars on the road"],
        ["a cow"],
    ]


def test_a_rare_combination_is_drawn_as_often_as_a_common_one(
    pairs, tmp_path, monkeypatch
):
    paths = {pair.path for pair in pairs[:4]}
    assert len(paths) == 4
    common = [pair._replace(caption="a cow on grass") for pair in pairs[:3]]
    rare = pairs[3]._replace(caption="a cow in the snow")
    read = []
    load = image_text.read_image
    monkeypatch.setattr(
        image_text, "read_image", lambda path: read.append(path) or load(path)
    )
    train([*common, rare], tmp_path, dataclasses.replace(SHORT, steps=3))
    assert len(read) == 12
    assert read.count(rare.path) == 6
