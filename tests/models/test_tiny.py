import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tag2mask.data.toy import CLASSES, VERSION, draw_scene
from tag2mask.errors import ArtifactError, ModelError
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.image_text.tiny import (
    CARD,
    MEAN,
    PADDING,
    SHIPPED,
    STD,
    UNKNOWN,
    WEIGHTS,
    TinyTowers,
    Vocabulary,
    load_tiny,
    save_tiny_weights,
    words_of,
    write_tiny_card,
)

VOCABULARY = Vocabulary(["a", "boat", "car", "on", "water"])


def write_model(folder, **sizes):
    torch.manual_seed(1)
    towers = TinyTowers(VOCABULARY, **sizes)
    write_tiny_card(folder, towers, VOCABULARY, {"command": "by hand"})
    save_tiny_weights(folder, towers)
    return towers


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path)
    return tmp_path


@pytest.fixture
def model(folder):
    return load_tiny(folder)


@pytest.fixture(scope="module")
def shipped():
    return load_tiny()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A photo of Boats.", ["a", "photo", "of", "boat"]),
        ("rails, grass & buses", ["rail", "grass", "buse"]),
        ("bus gas is this", ["bus", "gas", "is", "this"]),
        ("tv_monitor 2x Été", ["tv", "monitor", "2x", "été"]),
        ("  …", []),
    ],
)
def test_words_are_lower_case_and_in_the_singular(text, words):
    assert words_of(text) == words


def test_numbers_follow_the_order_of_words():
    # sorted: a 2, boat 3, car 4, on 5, water 6
    assert len(VOCABULARY) == 7
    assert VOCABULARY.numbers("Boats on a lake") == [3, 5, 2, UNKNOWN]
    assert VOCABULARY.numbers("?") == [UNKNOWN]
    tokens = VOCABULARY.tokens(["car", "a boat"])
    assert tokens.tolist() == [[4, PADDING], [2, 3]]
    assert VOCABULARY.tokens([]).shape[0] == 0


def test_a_text_vector_is_the_sum_of_its_words_at_unit_length(folder):
    towers = write_model(folder)
    vector = load_tiny(folder).encode_texts(["boats on"])[0]
    # "on" names nothing and counts a tenth
    total = (towers.words.weight[3] + 0.1 * towers.words.weight[5]).detach()
    torch.testing.assert_close(vector, total / total.norm())


def test_vectors_have_unit_length_and_float32(model):
    images = model.encode_images(torch.randn(3, 3, 64, 64))
    texts = model.encode_texts(["a boat", "zebra", "", "a car on water on a car"])
    for vectors, count in ((images, 3), (texts, 4)):
        assert vectors.shape == (count, 64)
        assert vectors.dtype == torch.float32
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(count))


def test_padding_does_not_count(model):
    alone = model.encode_texts(["boat"])
    beside = model.encode_texts(["boat", "a car on water"])
    assert torch.equal(alone[0], beside[0])


def test_unknown_words_share_a_vector(model):
    one, other, known = model.encode_texts(["zebra", "desert", "boat"])
    assert torch.equal(one, other)
    assert not torch.equal(one, known)


def test_gradient_reaches_images_and_no_weight(model):
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    texts = model.encode_texts(["boat", "car"])
    (model.encode_images(images) * texts).sum().backward()
    assert images.grad is not None
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert not texts.requires_grad
    assert not any(each.requires_grad for each in model.parameters())


def test_training_mode_and_the_rest_of_the_batch_change_nothing(model):
    images = torch.randn(4, 3, 64, 64)
    before = model.encode_images(images)
    model.train()
    assert not any(module.training for module in model.modules())
    torch.testing.assert_close(model.encode_images(images), before, rtol=0, atol=0)
    torch.testing.assert_close(model.encode_images(images[:1]), before[:1])


def test_vectors_are_float32_where_autocast_is_on(model):
    images = torch.randn(2, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = model.encode_images(images)
    assert torch.equal(vectors, model.encode_images(images))


def test_logits_are_cosines_times_the_scale(folder):
    towers = write_model(folder).eval()
    images, texts = torch.randn(2, 3, 64, 64), ["boat", "a car"]
    model = load_tiny(folder)
    cosines = model.encode_images(images) @ model.encode_texts(texts).T
    logits = towers(images, VOCABULARY.tokens(texts))
    torch.testing.assert_close(logits, 10 * cosines)  # the scale that it starts with
    with torch.no_grad():
        towers.log_scale.fill_(math.log(1e6))
    torch.testing.assert_close(
        towers(images, VOCABULARY.tokens(texts)), 20 * cosines, rtol=1e-4, atol=1e-4
    )


def test_the_card_holds_sizes_and_notes(tmp_path):
    write_model(tmp_path, widths=(4, 4, 4, 4, 6), dimensions=9)
    card = json.loads((tmp_path / CARD).read_text())
    assert card["command"] == "by hand"
    assert card["words"] == ["a", "boat", "car", "on", "water"]
    model = load_tiny(tmp_path)
    assert model.encode_images(torch.randn(1, 3, 64, 64)).shape == (1, 9)
    assert (model.image_size, model.mean, model.std) == (64, MEAN, STD)


def test_identity_names_the_weights(folder):
    before = load_tiny(folder).identity
    assert load_tiny(folder).identity == before
    towers = TinyTowers(VOCABULARY)
    save_tiny_weights(folder, towers)
    assert load_tiny(folder).identity != before


def lose_words(folder):
    card = json.loads((folder / CARD).read_text())
    del card["words"]
    (folder / CARD).write_text(json.dumps(card))


def other_words(folder):
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"words": ["a"]}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            shutil.rmtree,
            ModelError,
            "holds no tiny image-text model: expected model.js",
        ),
        (
            lambda f: (f / WEIGHTS).unlink(),
            ModelError,
            "expected model.json and weights",
        ),
        (lambda f: (f / CARD).write_text("{"), ArtifactError, "cannot be read as JSON"),
        (
            lambda f: (f / CARD).write_text("[]"),
            ModelError,
            "is no card of a tiny imag",
        ),
        (
            lose_words,
            ModelError,
            "is no card of a tiny image-text model: it lacks words",
        ),
        (
            other_words,
            ModelError,
            r"words\.weight has shape \[7, 64\], expected \[3, 64",
        ),
        (
            lambda f: (f / WEIGHTS).write_bytes(b"x"),
            ModelError,
            "cannot be read as weig",
        ),
    ],
)
def test_a_damaged_folder_is_named(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        load_tiny(folder)


def test_the_shipped_model_is_small_and_knows_the_words(shipped):
    files = list(SHIPPED.iterdir())
    assert sorted(file.name for file in files) == [CARD, WEIGHTS]
    assert sum(file.stat().st_size for file in files) < 2_000_000
    grounds = ["rails", "water", "sky", "grass", "road", "snow"]
    for text in (*CLASSES, *grounds, "a photo of an image and a picture with two"):
        assert UNKNOWN not in shipped._vocabulary.numbers(text)


def test_the_shipped_model_names_its_command():
    card = json.loads((SHIPPED / CARD).read_text())
    assert card["command"] == "python tools/train_tiny.py"
    assert card["num_pairs"] >= 1000


def test_the_shipped_model_finds_an_object_and_its_ground_apart(shipped):
    """A few scenes; tests/slow has the numbers."""
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    texts = shipped.encode_texts([f"a photo of {name}." for name in CLASSES])
    gaps = []
    for i in range(30):
        scene = draw_scene(np.random.default_rng([VERSION, 0, 1, i, 128]), 128)
        image = (torch.from_numpy(scene.image).permute(2, 0, 1) / 255 - mean) / std
        mask = torch.from_numpy(scene.mask)
        is_object = (mask == scene.tags[0]) | (mask == IGNORE)
        parts = torch.stack([image * is_object, image * ~is_object])
        vectors = shipped.encode_images(interpolate(parts, (64, 64), mode="bilinear"))
        alone, rest = vectors @ texts[scene.tags[0] - 1]
        gaps.append(float(alone - rest))
    assert np.mean(gaps) > 0.2
