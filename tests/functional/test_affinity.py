import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tag2mask.functional.affinity import (
    affinity_loss,
    displacement_loss,
    join_confident,
    labels_above,
)
from tag2mask.functional.shapes import IGNORE


def by_all_pairs(edges, labels, radius):
    """Compute the loss from its words: every pair, every pixel of its rectangle."""
    height, width = labels.shape
    costs = {"foreground": [], "background": [], "negative": []}
    pixels = list(product(range(height), range(width)))
    for (y, x), (v, u) in product(pixels, pixels):
        dy, dx = v - y, u - x
        length = math.hypot(dy, dx)
        if (v, u) <= (y, x) or length >= radius:
            continue
        a, b = int(labels[y, x]), int(labels[v, u])
        if IGNORE in (a, b):
            continue
        strongest = max(
            edges[j, i].item()
            for j, i in product(range(y, v + 1), range(min(x, u), max(x, u) + 1))
            if (dy * (i - x) - dx * (j - y)) ** 2 / length**2 < 1
        )
        kind = "negative" if a != b else "foreground" if a else "background"
        chance = strongest if kind == "negative" else 1 - strongest
        costs[kind].append(-math.log(chance))
    return [sum(each) / max(1, len(each)) for each in costs.values()]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 7), st.integers(1, 5))
def test_loss_is_that_of_all_pairs(seed, height, width, radius):
    generator = torch.Generator().manual_seed(seed)
    edges = 0.05 + 0.9 * torch.rand(height, width, generator=generator)
    kinds = torch.tensor([0, 1, 2, IGNORE], dtype=torch.uint8)
    labels = kinds[torch.randint(4, (height, width), generator=generator)]
    loss = affinity_loss(edges.logit()[None], labels[None], radius=radius)
    found = [each.item() for each in loss]
    assert found == pytest.approx(by_all_pairs(edges, labels, radius), abs=1e-5)


def noise(height=7, width=9):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (2, height, width), generator=generator)
    logits = torch.randn(2, height, width, generator=generator)
    return logits, labels.to(torch.uint8)


def test_radius_is_alive():
    logits, labels = noise()
    totals = {
        round(affinity_loss(logits, labels, radius=radius).total.item(), 6)
        for radius in (1, 2, 3, 5)
    }
    assert len(totals) == 4
    assert 0 in totals  # a radius of 1 leaves no pair


def test_names_of_objects_do_not_matter():
    logits, labels = noise()
    other = torch.tensor([0, 9, 4], dtype=torch.uint8)[labels.long()]
    first, second = (affinity_loss(logits, each, radius=4) for each in (labels, other))
    assert first == second


def test_a_mirror_image_costs_the_same():
    logits, labels = noise()
    loss = affinity_loss(logits, labels, radius=4)
    mirrored = affinity_loss(logits.flip(-1), labels.flip(-1), radius=4)
    torch.testing.assert_close(torch.stack([*loss]), torch.stack([*mirrored]))


def test_images_share_their_pairs():
    logits, labels = noise()
    labels[1] = IGNORE
    both = affinity_loss(logits, labels, radius=3)
    alone = affinity_loss(logits[:1], labels[:1], radius=3)
    torch.testing.assert_close(torch.stack([*both]), torch.stack([*alone]))


def test_extreme_logits_have_finite_costs_and_gradients():
    _, labels = noise()
    logits = torch.full((2, 7, 9), 200.0).requires_grad_()
    loss = affinity_loss(logits, labels, radius=3)
    loss.total.backward()
    assert loss.foreground.item() == pytest.approx(200)  # -log(1 - sigmoid(200))
    assert logits.grad.isfinite().all()


def test_half_precision_is_summed_in_float32():
    logits, labels = noise()
    loss = affinity_loss(logits.bfloat16(), labels, radius=3)
    assert loss.total.dtype == torch.float32


def test_without_a_labelled_pixel_nothing_is_lost():
    logits, labels = noise()
    nothing = torch.full_like(labels, IGNORE)
    assert affinity_loss(logits, nothing, radius=3).total.item() == 0
    shifts = torch.randn(2, 2, 7, 9)
    assert displacement_loss(shifts, nothing, radius=3).total.item() == 0


def test_displacements_have_a_radius_too():
    _, labels = noise()
    shifts = torch.randn(2, 2, 7, 9)
    one, two = (
        displacement_loss(shifts, labels, radius=each).total.item() for each in (2, 4)
    )
    assert one != two


def test_gradient_lowers_edges_within_an_object():
    logits = torch.zeros(1, 3, 6, requires_grad=True)
    halves = torch.ones(1, 3, 6, dtype=torch.uint8)
    halves[..., 3:] = 2
    affinity_loss(logits, halves, radius=4).total.backward()
    # far from the change of labels only pairs of one class are near
    assert (logits.grad[..., [0, 5]] > 0).all()
    assert (logits.grad[..., [2, 3]] < 0).all()


def test_ids_belong_to_maps():
    with pytest.raises(ValueError, match=r"one class id per map \(2\), got 1"):
        labels_above(torch.zeros(2, 3, 3), (1,), threshold=0.3)


def test_without_tags_all_is_confident_background():
    sure = labels_above(torch.zeros(0, 2, 3), (), threshold=0.3)
    assert join_confident(sure, sure).tolist() == [[0] * 3] * 2
