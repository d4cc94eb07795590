import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tag2mask.functional.query_maps import semantic_logits, semantic_shares


def queries(classes, masks):
    """Logits of one image of one pixel, from probabilities of classes and masks."""
    p = torch.tensor(classes, dtype=torch.float64)[None]
    m = torch.tensor(masks, dtype=torch.float64)
    return p.log(), (m / (1 - m)).log().view(1, -1, 1, 1)


def test_shares_by_hand():
    # S_0 = 0.6 * 0.5 + 0.1 * 0.8 = 0.38, S_1 = 0.2 * 0.5 + 0.7 * 0.8 = 0.66,
    # "no object" (0.2, 0.2) is dropped; over 1.04: 0.365385 and 0.634615
    given = queries([[0.6, 0.2, 0.2], [0.1, 0.7, 0.2]], [0.5, 0.8])
    found = semantic_shares(*given).flatten()
    expected = torch.tensor([0.38 / 1.04, 0.66 / 1.04], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_logits_by_hand():
    # log 0.365385 = -1.006804, log 0.634615 = -0.454737 (1e-6 moves them by 3e-6 and
    # 2e-6), mean -0.730768; less the mean: -0.276033, 0.276033
    given = queries([[0.6, 0.2, 0.2], [0.1, 0.7, 0.2]], [0.5, 0.8])
    found = semantic_logits(*given).flatten()
    expected = torch.tensor([-0.276033, 0.276033], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


def test_no_object_takes_part_in_the_softmax():
    # a query that is "no object" by 0.9 counts a ninth of one that is so by 0.1
    unsure = queries([[0.1, 1e-9, 0.9], [1e-9, 0.9, 0.1]], [0.5, 0.5])
    found = semantic_shares(*unsure).flatten()
    torch.testing.assert_close(
        found, torch.tensor([0.1, 0.9], dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_least_share_bounds_the_logits():
    # one class has all of a pixel: log(1 + 1e-6) and log 1e-6 = -13.815511
    sure = torch.tensor([[[1e4, 0.0, -1e4]]])
    found = semantic_logits(sure, torch.zeros(1, 1, 1, 1)).flatten()
    half = (13.815511 + 1e-6) / 2
    torch.testing.assert_close(found, torch.tensor([half, -half]))


@given(st.integers(0, 2**16), st.floats(-20, 20))
def test_logits_sum_to_nothing_and_all_masks_may_be_fainter(random_seed, shift):
    generator = torch.Generator().manual_seed(random_seed)
    classes = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    masks = torch.randn(2, 5, 3, 2, generator=generator, dtype=torch.float64) - 30
    found = semantic_logits(classes, masks)
    torch.testing.assert_close(found.sum(1), torch.zeros(2, 3, 2).double())
    # sigmoid(m) is exp(m) far below 0: a shift of all is a factor of every S_k
    fainter = semantic_logits(classes, masks - 20 + shift)
    torch.testing.assert_close(fainter, found, atol=1e-5, rtol=1e-5)


def test_shares_are_those_of_the_sum_written_out():
    classes, masks = torch.randn(2, 3, 5).double(), torch.randn(2, 3, 4, 2).double()
    summed = sum(
        classes.softmax(-1)[:, q, :-1, None, None] * masks[:, q : q + 1].sigmoid()
        for q in range(3)
    )
    expected = summed / summed.sum(1, keepdim=True)
    torch.testing.assert_close(semantic_shares(classes, masks), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_logits_and_gradient_are_finite_at_extreme_logits(dtype, size):
    # every class of a query sure in turn, "no object" among them; all masks on or off
    classes = (size * (2 * torch.eye(4) - 1)).expand(4, 4, 4).to(dtype)
    signs = torch.tensor([1.0, -1.0, 0.0, 1.0])
    masks = (size * signs.view(4, 1, 1, 1)).expand(4, 4, 2, 2).to(dtype)
    for only_nothing in (False, True):
        if only_nothing:
            classes = classes[:, 3:].expand(4, 4, 4)
        given = [each.clone().requires_grad_() for each in (classes, masks)]
        found = semantic_logits(*given)
        assert found.dtype == torch.float32
        assert found.isfinite().all()
        found.log_softmax(1)[:, 0].sum().backward()
        assert all(each.grad.isfinite().all() for each in given)


def test_gradient_is_that_of_the_sum_written_out():
    classes, masks = torch.randn(1, 3, 4).double(), torch.randn(1, 3, 2, 2).double()
    found = []
    for by_hand in (False, True):
        given = [each.clone().requires_grad_() for each in (classes, masks)]
        if by_hand:
            p = given[0].softmax(-1)[..., :-1]
            summed = torch.einsum("bqk,bqhw->bkhw", p, given[1].sigmoid())
            logs = (summed / summed.sum(1, keepdim=True) + 1e-6).log()
            logits = logs - logs.mean(1, keepdim=True)
        else:
            logits = semantic_logits(*given)
        (logits[:, 0] * logits[:, 1]).sum().backward()
        found.append([each.grad for each in given])
    torch.testing.assert_close(found[0], found[1])


def test_autocast_changes_nothing():
    classes, masks = torch.randn(1, 3, 4), torch.randn(1, 3, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = semantic_logits(classes, masks)
    assert torch.equal(found, semantic_logits(classes, masks))
    assert math.isfinite(found.sum())
