"""What the shipped image-text model must tell apart on scenes it never saw.

Masks show it parts of scenes here; none had a part in its training.
"""

import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from tag2mask.data.toy import CLASSES, VERSION, draw_scene
from tag2mask.data.toy_grounds import PLACES
from tag2mask.functional.metrics import mean_average_precision
from tag2mask.functional.shapes import IGNORE
from tag2mask.models.image_text.tiny import load_tiny

pytestmark = pytest.mark.slow
GROUNDS = ("rails", "water", "sky", "grass", "road", "snow")
NUM_SCENES = 300


class Shown(NamedTuple):
    """Cosines of parts of scenes with two prompts, by tagged class of each scene.

    The prompts are the class's and that of the ground that its caption puts it on.
    """

    object_class: np.ndarray
    rest_class: np.ndarray
    ground_class: np.ndarray
    object_ground: np.ndarray
    rest_ground: np.ndarray
    ground_ground: np.ndarray


@pytest.fixture(scope="module")
def model():
    return load_tiny()


@pytest.fixture(scope="module")
def scenes():
    """The first scenes of split ``val`` of the toy world of random seed 0."""
    return [
        draw_scene(np.random.default_rng([VERSION, 0, 1, i, 128]), 128)
        for i in range(NUM_SCENES)
    ]


def normalised(model, scene):
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.mean, model.std))
    return (torch.from_numpy(scene.image).permute(2, 0, 1) / 255 - mean) / std


def encode(model, images):
    size = (model.image_size, model.image_size)
    return model.encode_images(interpolate(torch.stack(images), size, mode="bilinear"))


def prompts(model, names):
    return model.encode_texts([f"a photo of {name}." for name in names])


def ground_of(scene, class_name):
    """Return the number of the ground that the caption puts a class on."""
    (place,) = re.findall(rf"{class_name}s? ((?:on|in) (?:the |a )?\w+)", scene.caption)
    return PLACES.index(place)


@pytest.fixture(scope="module")
def shown(model, scenes):
    """Show the objects of a class with their outlines, all else, the grounds alone."""
    classes, grounds = prompts(model, CLASSES), prompts(model, GROUNDS)
    rows = []
    for scene in scenes:
        image, mask = normalised(model, scene), torch.from_numpy(scene.mask)
        for tag in scene.tags:
            is_object = (mask == tag) | (mask == IGNORE)
            vectors = encode(
                model, [image * is_object, image * ~is_object, image * (mask == 0)]
            )
            ground = ground_of(scene, CLASSES[tag - 1])
            texts = torch.stack([classes[tag - 1], grounds[ground]])
            rows.append((texts @ vectors.T).flatten().tolist())
    return Shown(*np.array(rows).T)


def test_tags_are_ranked_without_having_been_taught(model, scenes):
    images = encode(model, [normalised(model, scene) for scene in scenes])
    scores = (images @ prompts(model, CLASSES).T).numpy()
    tags = np.array([[k in s.tags for k in range(1, 7)] for s in scenes])
    found = mean_average_precision(scores, tags)
    print(f"tag mAP {found:.3f}, chance {tags.mean():.3f}")  # noqa: T201
    assert found > 0.8


def test_an_object_alone_is_nearer_to_its_class_than_all_else_is(shown):
    gap = shown.object_class.mean() - shown.rest_class.mean()
    share = (shown.object_class > shown.rest_class).mean()
    print(  # noqa: T201
        f"class prompt: object {shown.object_class.mean():.3f}, all else "
        f"{shown.rest_class.mean():.3f}, nearer in {share:.1%}"
    )
    assert gap > 0.3
    assert share > 0.9


def test_a_ground_alone_is_nearer_to_its_word_than_to_its_class(shown):
    gap = shown.ground_ground.mean() - shown.ground_class.mean()
    share = (shown.ground_ground > shown.ground_class).mean()
    print(  # noqa: T201
        f"ground alone: its word {shown.ground_ground.mean():.3f}, the class "
        f"{shown.ground_class.mean():.3f}, nearer in {share:.1%}; object alone: the "
        f"ground's word {shown.object_ground.mean():.3f}"
    )
    assert gap > 0.1
    assert share > 0.8
