import numpy as np
import pytest
import torch

from tag2mask.data.augment import Augmentation

FILL = (0.2, 0.4, 0.6)
PADDING = (51, 102, 153)  # 255 x FILL


def augmentation(**changes):
    settings = {"crop": 16, "rescale": (1.0, 1.0), "colour_jitter": 0.0, "fill": FILL}
    return Augmentation(**(settings | changes))


def scene(height=20, width=24):
    """A map of 12 stripes and an image whose colour says which stripe it is."""
    labels = np.repeat(np.arange(12, dtype=np.uint8), width // 12)[None].repeat(
        height, 0
    )
    return np.stack([20 * labels, 255 - 20 * labels, 0 * labels], -1), labels


def draw(augment, seed, image, labels):
    pixels, (cut,) = augment(image, [labels], [255], np.random.default_rng(seed))
    return pixels, cut


@pytest.mark.parametrize("size", [(40, 50), (5, 7), (5, 50), (16, 16), (1, 1)])
@pytest.mark.parametrize("rescale", [(1.0, 1.0), (0.5, 2.0), (0.01, 0.01)])
def test_crop_has_its_size_whatever_the_image(size, rescale):
    image = np.zeros((*size, 3), np.uint8)
    pixels, cut = draw(augmentation(rescale=rescale), 0, image, image[..., 0])
    assert pixels.shape == (3, 16, 16)
    assert cut.shape == (16, 16)
    assert (pixels.dtype, cut.dtype) == (torch.float32, torch.uint8)


def test_image_and_map_stay_at_the_same_place():
    image, labels = scene()
    for seed in range(20):
        pixels, cut = draw(augmentation(), seed, image, labels)
        red = (255 * pixels[0]).round().to(torch.uint8)
        assert torch.equal(red, 20 * cut)


def test_image_and_map_stay_together_at_every_scale():
    image, labels = scene(48, 48)
    for seed in range(20):
        pixels, cut = draw(augmentation(rescale=(0.5, 2.0)), seed, image, labels)
        inside = cut != 255
        off = (255 * pixels[0] / 20 - cut)[inside].abs()
        # an edge of the map lies within a pixel of the image's
        assert off.max() <= 1
        assert off.mean() <= 0.25


def test_all_of_a_small_image_is_kept_and_the_rest_is_padding():
    image, labels = scene(6, 12)
    corners = set()
    for seed in range(40):
        pixels, cut = draw(augmentation(), seed, image, labels)
        inside = cut != 255
        rows, columns = inside.nonzero().T
        corners.add((int(rows.min()), int(columns.min())))
        assert inside.sum() == 6 * 12
        outside = (255 * pixels[:, ~inside]).round().to(torch.uint8)
        assert (outside == torch.tensor(PADDING, dtype=torch.uint8)[:, None]).all()
    assert len(corners) > 10


def test_jitter_leaves_the_padding_alone():
    image, labels = scene(6, 12)
    pixels, cut = draw(augmentation(colour_jitter=0.9), 1, image, labels)
    outside = (255 * pixels[:, cut == 255]).round().to(torch.uint8)
    assert (outside == torch.tensor(PADDING, dtype=torch.uint8)[:, None]).all()


def test_every_map_has_its_own_padding():
    image, labels = scene(6, 12)
    rng = np.random.default_rng(0)
    _, (one, other) = augmentation()(image, [labels, labels], [255, 0], rng)
    assert torch.equal(one == 255, (other == 0) & (one != 0))


def test_image_without_maps():
    _, maps = augmentation()(scene()[0], [], [], np.random.default_rng(0))
    assert maps == []


def test_half_of_the_crops_are_mirrored():
    image, labels = scene()
    cuts = [draw(augmentation(), seed, image, labels)[1] for seed in range(200)]
    mirrored = sum(bool(cut[0, 0] > cut[0, -1]) for cut in cuts)
    # 200 coins: 100 +- 7; five deviations
    assert 65 < mirrored < 135


def test_crop_reaches_every_place():
    image = np.zeros((18, 19, 3), np.uint8)
    places = np.arange(18 * 19, dtype=np.uint16).reshape(18, 19)
    rows, columns = (places // 19).astype(np.uint8), (places % 19).astype(np.uint8)
    corners = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        _, cut = augmentation()(image, [rows, columns], [255, 255], rng)
        corners.add((int(cut[0].min()), int(cut[1].min())))
    assert corners == {(row, column) for row in range(3) for column in range(4)}


@pytest.mark.parametrize(
    "change",
    [
        {"crop": 12},
        {"rescale": (0.5, 0.5)},
        {"rescale": (1.0, 2.0)},
        {"colour_jitter": 0.5},
        {"fill": (0.0, 0.0, 0.0)},
    ],
    ids=str,
)
def test_knob_is_alive(change):
    image, labels = scene(12, 12)
    plain, _ = draw(augmentation(), 3, image, labels)
    changed, _ = draw(augmentation(**change), 3, image, labels)
    assert not torch.equal(plain, changed)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_rescale_is_a_factor_of_the_size(factor):
    image, labels = scene(20, 24)
    augment = augmentation(crop=64, rescale=(factor, factor))
    _, cut = draw(augment, 0, image, labels)
    assert (cut != 255).sum() == 20 * factor * 24 * factor


def test_jitter_changes_colours_and_no_labels():
    image, labels = scene()
    plain = draw(augmentation(), 5, image, labels)
    jittered = draw(augmentation(colour_jitter=0.5), 5, image, labels)
    assert torch.equal(plain[1], jittered[1])
    assert not torch.equal(plain[0], jittered[0])
    assert 0 <= jittered[0].min() <= jittered[0].max() <= 1


def test_generator_is_the_only_source_of_chance():
    image, labels = scene()
    augment = augmentation(rescale=(0.5, 2.0), colour_jitter=0.5)
    one, same, other = (draw(augment, seed, image, labels)[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
