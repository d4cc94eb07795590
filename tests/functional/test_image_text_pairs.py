import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tag2mask.functional.image_text_pairs import (
    choose_context,
    cosines,
    find_pairs,
    foreground_and_background,
    maps_of_pairs,
)

law = settings(deadline=None, max_examples=25)
TAGS = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0]]).bool()


def test_pairs_are_all_tags_by_image_and_then_by_class():
    pairs = find_pairs(TAGS)
    assert pairs.images.tolist() == [0, 0, 2]
    assert pairs.classes.tolist() == [0, 2, 1]


@law
@given(arrays("bool", (4, 3)))
def test_there_is_a_pair_for_every_tag(tags):
    pairs = find_pairs(torch.from_numpy(tags))
    again = torch.zeros(4, 3, dtype=torch.bool)
    again[pairs.images, pairs.classes] = True
    assert again.tolist() == tags.tolist()
    assert len(pairs.images) == tags.sum()


@law
@given(arrays("float32", (3, 2, 2), elements=st.floats(0, 1, width=32)))
def test_foregrounds_come_first_and_add_up_with_backgrounds_to_the_images(p):
    images, p = torch.randn(3, 3, 2, 2), torch.from_numpy(p)
    pairs = find_pairs(TAGS)
    both = foreground_and_background(images, p, pairs.images)
    torch.testing.assert_close(both[:3] + both[3:], images[pairs.images])
    torch.testing.assert_close(both[1], images[0] * p[1])


def test_a_map_at_its_own_size_is_itself():
    maps = torch.rand(3, 3, 5, 5)
    pairs = find_pairs(TAGS)
    same = maps_of_pairs(maps, pairs, size=5)
    assert torch.equal(same, maps[pairs.images, pairs.classes])
    assert maps_of_pairs(maps, pairs, size=8).shape == (3, 8, 8)


def test_without_a_pair_all_is_empty_and_the_gradient_zero():
    maps = torch.rand(2, 3, 5, 5, requires_grad=True)
    pairs = find_pairs(torch.zeros(2, 3, dtype=torch.bool))
    p = maps_of_pairs(maps, pairs, size=8)
    both = foreground_and_background(torch.randn(2, 3, 8, 8), p, pairs.images)
    similarities = cosines(both.sum(dim=(2, 3)), torch.zeros(0, 4, 3))
    assert both.shape == (0, 3, 8, 8)
    assert similarities.shape == (0, 4)
    assert choose_context(similarities).shape == (0,)
    similarities.sum().backward()
    assert torch.equal(maps.grad, torch.zeros_like(maps))


@law
@given(st.integers(0, 100), st.floats(0.01, 100))
def test_cosines_see_directions_only(random_seed, factor):
    generator = torch.Generator().manual_seed(random_seed)
    images = torch.randn(3, 6, generator=generator)
    texts = torch.randn(3, 4, 6, generator=generator)
    found = cosines(images, texts)
    torch.testing.assert_close(cosines(factor * images, texts), found)
    torch.testing.assert_close(cosines(images, factor * texts), found)
    assert found.abs().amax() <= 1 + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cosines_of_half_precision_are_float32(dtype):
    images, texts = torch.randn(3, 512).to(dtype), torch.randn(3, 4, 512).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = cosines(images, texts)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, cosines(images.float(), texts.float()))


def test_a_black_foreground_has_cosine_zero():
    images = torch.zeros(1, 3, requires_grad=True)
    found = cosines(images, torch.ones(1, 2, 3))
    found.sum().backward()
    assert found.tolist() == [[0, 0]]
    assert images.grad.isfinite().all()


def test_the_first_of_equal_contexts_is_chosen_without_gradient():
    similarities = torch.tensor([[0.1, 0.3, 0.3], [0.2, 0.2, 0.2]], requires_grad=True)
    chosen = choose_context(similarities)
    assert chosen.tolist() == [1, 0]
    assert not chosen.requires_grad
