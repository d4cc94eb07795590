import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from crf_fakes import agreement, make_image, make_scores
from tag2mask.functional.crf import (
    DEEPLAB,
    IRN_LABELS,
    PRESETS,
    SEEDS,
    CrfPreset,
    dense_crf,
    dense_crf_exact,
    scores_from_labels,
)
from tag2mask.functional.shapes import IGNORE

BOTH = pytest.mark.parametrize("crf", [dense_crf, dense_crf_exact])
Crf = Callable[..., Tensor]


@pytest.fixture
def as_users_call_it(monkeypatch):
    """Without the shape check that only this test run switches on."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_two_pixels_by_hand():
    # Two pixels side by side of one colour, two labels, only the spatial kernel, with
    # sxy = 1 / sqrt(2 ln 2), so that exp(-1 / (2 sxy^2)) = 1/2, and weight w = 3.
    #   K = [[1, 1/2], [1/2, 1]], row sums 3/2, hence D^-1/2 K D^-1/2 =
    #   [[2/3, 1/3], [1/3, 2/3]].
    # Scores: left (0.9, 0.1), right (0.4, 0.6). Q0 is the same, for they sum to one.
    # Left after one step: messages w * (2/3 Q0_left + 1/3 Q0_right)
    #   label 0: 3 * (0.6 + 0.4/3) = 2.2        label 1: 3 * (0.2/3 + 0.2) = 0.8
    #   odds = 0.9/0.1 * exp(2.2 - 0.8) = 9 * 4.0552 = 36.4968; Q = 36.4968 / 37.4968
    # Right: label 0: 3 * (0.3 + 0.8/3) = 1.7   label 1: 3 * (0.1/3 + 0.4) = 1.3
    #   odds = 0.4/0.6 * exp(0.4) = 0.6667 * 1.491825 = 0.994550; Q = 0.498634
    knobs = CrfPreset(1 / math.sqrt(2 * math.log(2)), 3.0, 80.0, 13.0, 0.0, 1)
    scores = torch.tensor([[[0.9, 0.4]], [[0.1, 0.6]]])
    image = torch.full((1, 2, 3), 7, dtype=torch.uint8)
    marginals = dense_crf_exact(scores, image, preset=knobs)
    expected = torch.tensor([[[0.973331, 0.498634]], [[0.026669, 0.501366]]])
    torch.testing.assert_close(marginals, expected, atol=2e-6, rtol=0)


def test_two_colours_by_hand():
    # As above with only the bilateral kernel: colours (0, 0, 0) and (1, 2, 2), squared
    # distance 9; places too far to matter less than 1e-9 (sxy = 1e5). With
    # srgb = 3 / sqrt(2 ln 2), exp(-9 / (2 srgb^2)) = 1/2: the same K, the same result.
    knobs = CrfPreset(1.0, 0.0, 1e5, 3 / math.sqrt(2 * math.log(2)), 3.0, 1)
    scores = torch.tensor([[[0.9, 0.4]], [[0.1, 0.6]]])
    image = torch.tensor([[[0, 0, 0], [1, 2, 2]]], dtype=torch.uint8)
    marginals = dense_crf_exact(scores, image, preset=knobs)
    expected = torch.tensor([[[0.973331, 0.498634]], [[0.026669, 0.501366]]])
    torch.testing.assert_close(marginals, expected, atol=2e-6, rtol=0)


# The lattice is an approximation of the Gaussians: this is the method's own error,
# which pydensecrf has too. Measured: mean differences 0.008, 0.007, 0.007; equal labels
# 98.4, 98.6, 98.9 %.
@pytest.mark.parametrize(
    ("name", "max_difference", "min_agreement"),
    [("seeds", 0.02, 0.965), ("irnet", 0.02, 0.965), ("deeplab", 0.02, 0.97)],
)
def test_agrees_with_all_pairs(name, max_difference, min_agreement):
    differences, agreements = [], []
    for random_seed in range(4):
        scores, image = make_scores(4, 16, 20, random_seed), make_image(16, 20)
        fast = dense_crf(scores, image, preset=name)
        exact = dense_crf_exact(scores, image, preset=name)
        differences.append((fast - exact).abs().mean().item())
        agreements.append(agreement(fast, exact))
    assert np.mean(differences) < max_difference
    assert np.mean(agreements) > min_agreement


@BOTH
def test_without_pair_weight_it_is_the_softmax_of_log_scores(crf: Crf):
    scores, image = make_scores(5, 9, 7), make_image(9, 7)
    knobs = SEEDS._replace(spatial_weight=0.0, bilateral_weight=0.0)
    torch.testing.assert_close(crf(scores, image, preset=knobs), scores)


@BOTH
def test_without_steps_it_is_the_softmax_of_log_scores(crf: Crf):
    scores, image = make_scores(5, 9, 7), make_image(9, 7)
    marginals = crf(scores, image, preset=SEEDS._replace(iterations=0))
    torch.testing.assert_close(marginals, scores)


@BOTH
def test_scores_need_not_sum_to_one(crf: Crf):
    scores, image = make_scores(3, 6, 8), make_image(6, 8)
    torch.testing.assert_close(
        crf(7 * scores, image), crf(scores, image), atol=1e-4, rtol=0
    )


@BOTH
def test_no_score_is_the_clipped_score(crf: Crf):
    scores, image = torch.zeros(2, 1, 1), torch.zeros(1, 1, 3, dtype=torch.uint8)
    scores[0] = 1.0
    marginals = crf(scores, image, preset=SEEDS._replace(iterations=0))
    # 1e-5 / (1 + 1e-5)
    assert marginals[1].item() == pytest.approx(0.99999e-5, rel=1e-3)


@BOTH
def test_equal_scores_stay_equal(crf: Crf):
    marginals = crf(torch.full((4, 6, 8), 0.25), make_image(6, 8))
    torch.testing.assert_close(marginals, torch.full((4, 6, 8), 0.25))


@BOTH
def test_a_constant_image_takes_the_label_of_most(crf: Crf):
    scores = torch.full((2, 12, 12), 0.3)
    scores[0] = 0.7
    scores[:, 4:7, 4:7] = scores[:, 4:7, 4:7].flip(0)
    image = torch.full((12, 12, 3), 90, dtype=torch.uint8)
    assert (crf(scores, image).argmax(dim=0) == 0).all()


@BOTH
def test_labels_stop_at_an_edge_of_the_image(crf: Crf):
    image = torch.zeros(10, 12, 3, dtype=torch.uint8)
    image[:, 6:] = 255
    scores = torch.full((2, 10, 12), 0.5)
    scores[:, :, :5] = torch.tensor([0.8, 0.2])[:, None, None]
    scores[:, :, 8:] = torch.tensor([0.2, 0.8])[:, None, None]
    labels = crf(scores, image, preset=SEEDS._replace(spatial_weight=0.0)).argmax(dim=0)
    assert (labels[:, :6] == 0).all()
    assert (labels[:, 6:] == 1).all()


@BOTH
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (3, 5)])
@pytest.mark.parametrize("num_labels", [1, 2, 8, 9])
def test_marginals_sum_to_one(crf: Crf, size, num_labels):
    marginals = crf(make_scores(num_labels, *size), make_image(*size))
    assert marginals.shape == (num_labels, *size)
    assert marginals.dtype == torch.float32
    assert (marginals >= 0).all()
    torch.testing.assert_close(marginals.sum(dim=0), torch.ones(size))


@BOTH
def test_one_label_is_certain(crf: Crf):
    assert (crf(0.2 * torch.ones(1, 4, 5), make_image(4, 5)) == 1).all()


def test_255_labels_fit():
    marginals = dense_crf(make_scores(255, 6, 7), make_image(6, 7))
    torch.testing.assert_close(marginals.sum(dim=0), torch.ones(6, 7))


@BOTH
def test_order_of_labels_does_not_matter(crf: Crf):
    scores, image = make_scores(5, 16, 20), make_image(16, 20)
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(
        crf(scores[order], image), crf(scores, image)[order], atol=1e-4, rtol=0
    )


def test_a_mirrored_image_gives_nearly_mirrored_labels():
    scores, image = make_scores(4, 40, 50), make_image(40, 50)
    mirrored = dense_crf(scores.flip(2), image.flip(1)).flip(2)
    assert agreement(mirrored, dense_crf(scores, image)) > 0.95


def test_a_mirrored_image_gives_mirrored_marginals_if_all_pairs_count():
    scores, image = make_scores(4, 8, 9), make_image(8, 9)
    mirrored = dense_crf_exact(scores.flip(2), image.flip(1)).flip(2)
    torch.testing.assert_close(mirrored, dense_crf_exact(scores, image))


def test_wide_images_are_seen_to_their_end():
    # the same scene at both ends of a strip; what lies 3,960 pixels away is nothing
    scores, image = make_scores(3, 5, 40), make_image(5, 40)
    grey = torch.full((5, 3920, 3), 250, dtype=torch.uint8)
    even = torch.full((3, 5, 3920), 1 / 3)
    found = dense_crf(
        torch.cat([scores, even, scores], dim=2), torch.cat([image, grey, image], dim=1)
    )
    assert found.shape == (3, 5, 4000)
    torch.testing.assert_close(found.sum(dim=0), torch.ones(5, 4000))
    # the lattice lies otherwise there
    assert agreement(found[:, :, :30], found[:, :, -40:-10]) > 0.9
    assert agreement(found[:, :, :30], dense_crf(scores, image)[:, :, :30]) > 0.9


def test_items_of_a_batch_are_what_they_are_alone():
    scores = torch.stack([make_scores(3, 10, 12, seed) for seed in range(3)])
    images = torch.stack([make_image(10, 12, seed) for seed in range(3)])
    scores[1, 2] = 1e-4
    own = dense_crf(scores, images, min_score=0.01)
    shared = dense_crf(scores, images[2], min_score=0.01)
    for item in range(3):
        alone = dense_crf(scores[item], images[item], min_score=0.01)
        assert torch.equal(own[item], alone)
        alone = dense_crf(scores[item], images[2], min_score=0.01)
        assert torch.equal(shared[item], alone)
    assert own[1, 2].eq(0).all()


def test_strides_do_not_matter():
    scores, image = make_scores(3, 10, 12), make_image(10, 12)
    strided = torch.empty(10, 12, 6)[..., ::2].permute(2, 0, 1).copy_(scores)
    turned = image.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not strided.is_contiguous()
    assert not turned.is_contiguous()
    expected = dense_crf(scores, image.contiguous())
    assert torch.equal(dense_crf(strided, turned), expected)


def test_arguments_stay_as_they_are():
    scores, image = make_scores(3, 10, 12), make_image(10, 12)
    copies = scores.clone(), image.clone()
    dense_crf(scores.requires_grad_(), image)
    assert torch.equal(scores, copies[0])
    assert torch.equal(image, copies[1])


def test_many_distinct_cells_are_found_again():
    # noise puts nearly every pixel into cells of its own, so the hash table grows
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (60, 60, 3), generator=generator).byte()
    knobs = CrfPreset(1.0, 0.0, 2.0, 2.0, 10.0, 1)
    scores = make_scores(3, 60, 60)
    # alone in its cells, a pixel hears only itself: K = identity, message w * Q0
    expected = (scores.log() + 10 * scores).softmax(dim=0)
    torch.testing.assert_close(
        dense_crf(scores, image, preset=knobs), expected, atol=1e-2, rtol=0
    )


def test_min_score_leaves_out_what_cannot_matter():
    scores, image = make_scores(6, 24, 30), make_image(24, 30)
    scores[[1, 4]] = 1e-5
    full = dense_crf(scores, image)
    pruned = dense_crf(scores, image, min_score=0.01)
    assert (pruned[[1, 4]] == 0).all()
    torch.testing.assert_close(pruned, full, atol=1e-2, rtol=0)
    assert (pruned - full).abs().mean() < 1e-3
    kept = [0, 2, 3, 5]
    assert torch.equal(pruned[kept], dense_crf(scores[kept], image))


def test_min_score_itself_is_kept():
    scores, image = torch.full((2, 3, 3), 0.5), make_image(3, 3)
    scores[1] = 0.25
    assert (dense_crf(scores, image, min_score=0.25)[1] > 0).all()
    assert (dense_crf(scores, image, min_score=0.2500001)[1] == 0).all()


def test_presets_are_those_of_the_field():
    assert PRESETS == {"seeds": SEEDS, "irnet": IRN_LABELS, "deeplab": DEEPLAB}
    assert SEEDS == (3, 3, 80, 13, 10, 10)
    assert IRN_LABELS == (3, 3, 50, 5, 10, 10)
    assert DEEPLAB == (1, 3, 67, 3, 4, 10)
    assert SEEDS._fields == (
        "spatial_sxy",
        "spatial_weight",
        "bilateral_sxy",
        "bilateral_srgb",
        "bilateral_weight",
        "iterations",
    )


@BOTH
@pytest.mark.parametrize(
    "knob",
    [
        {"spatial_sxy": 1.0},
        {"spatial_weight": 1.0},
        {"bilateral_sxy": 5.0},
        {"bilateral_srgb": 40.0},
        {"bilateral_weight": 2.0},
        {"iterations": 1},
    ],
    ids=str,
)
def test_every_knob_is_alive(crf: Crf, knob):
    scores, image = make_scores(3, 12, 14), make_image(12, 14)
    changed = crf(scores, image, preset=SEEDS._replace(**knob))
    assert (changed - crf(scores, image)).abs().mean() > 1e-3


@BOTH
def test_a_name_is_its_preset(crf: Crf):
    scores, image = make_scores(3, 8, 9), make_image(8, 9)
    for name, knobs in PRESETS.items():
        assert torch.equal(
            crf(scores, image, preset=name), crf(scores, image, preset=knobs)
        )
    assert torch.equal(crf(scores, image), crf(scores, image, preset=SEEDS))


def test_threads_equal_one_after_the_other():
    cases = [
        (make_scores(5, 60, 80, seed), make_image(60, 80, seed)) for seed in (1, 2)
    ]
    alone = [dense_crf(*case) for case in cases]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda case: dense_crf(*case), cases * 5))
    for index, marginals in enumerate(together):
        assert torch.equal(marginals, alone[index % 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preset": "seed"}, "one of seeds, irnet, deeplab, got 'seed'"),
        (
            {"preset": SEEDS._replace(spatial_sxy=0.0)},
            r"spatial_sxy must be finite and at least 0.1, got 0.0",
        ),
        (
            {"preset": SEEDS._replace(bilateral_srgb=math.nan)},
            r"bilateral_srgb must be finite and at least 0.1, got nan",
        ),
        (
            {"preset": SEEDS._replace(bilateral_weight=-1.0)},
            r"bilateral_weight must be finite and not negative, got -1.0",
        ),
        (
            {"preset": SEEDS._replace(iterations=-1)},
            "iterations must be finite and not negative, got -1",
        ),
        ({"min_score": 0.9}, "at most the largest score, 0.5, got 0.9"),
        ({"scores": -torch.ones(2, 3, 4)}, "not negative, got values from -1 to -1"),
        ({"scores": torch.full((2, 3, 4), math.nan)}, "got values from nan to nan"),
        ({"scores": torch.full((2, 3, 4), math.inf)}, "got values from inf to inf"),
        ({"scores": torch.ones(0, 3, 4)}, r"1 to 255 labels .* got shape \(0, 3, 4\)"),
        ({"scores": torch.ones(256, 3, 4)}, r"got shape \(256, 3, 4\)"),
        ({"scores": torch.ones(2, 0, 4)}, r"at least one pixel, got shape \(2, 0, 4\)"),
        ({"scores": torch.ones(3, 4)}, r"\(labels, height, width\), .* \(3, 4\)"),
        (
            {"scores": torch.ones(2, 3, 4).long()},
            "scores must be floats .* torch.int64",
        ),
        (
            {"image": torch.ones(2, 3, 4, 3, dtype=torch.uint8)},
            r"expected shape \(3, 4, 3\) or \(3, 4, 3\), got \(2, 3, 4, 3\)",
        ),
        (
            {
                "scores": torch.ones(5, 2, 3, 4),
                "image": torch.ones(2, 3, 4, 3, dtype=torch.uint8),
            },
            r"expected shape \(3, 4, 3\) or \(5, 3, 4, 3\), got \(2, 3, 4, 3\)",
        ),
        ({"scores": torch.ones(1, 1, 2, 3, 4)}, r"items in front or not, got"),
        ({"image": torch.ones(3, 4, 3)}, r"uint8 of shape \(3, 4, 3\).* torch.float32"),
        (
            {"image": torch.ones(3, 3, 4, dtype=torch.uint8)},
            r"of shape \(3, 4, 3\) .* torch.uint8 of shape \(3, 3, 4\)",
        ),
    ],
)
@pytest.mark.usefixtures("as_users_call_it")
def test_wrong_arguments_are_refused(arguments, message):
    image = torch.zeros(3, 4, 3, dtype=torch.uint8)
    arguments = {"scores": torch.full((2, 3, 4), 0.5), "image": image} | arguments
    with pytest.raises(ValueError, match=message):
        dense_crf(**arguments)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_scores_from_labels_share_the_rest(dtype):
    labels = torch.tensor([[0, 15, IGNORE]], dtype=dtype)
    scores = scores_from_labels(labels, (0, 7, 15))
    third = 1 / 3
    expected = torch.tensor(
        [[[0.7, 0.15, third]], [[0.15, 0.15, third]], [[0.15, 0.7, third]]]
    )
    torch.testing.assert_close(scores, expected)
    sure = scores_from_labels(labels, (0, 7, 15), certainty=1.0)
    assert sure[:, 0, 1].tolist() == [0, 0, 1]
    assert scores_from_labels(labels[:, :1], (0,)).tolist() == [[[pytest.approx(0.7)]]]


@pytest.mark.parametrize(
    ("label", "class_ids", "certainty", "message"),
    [
        (3, (0, 2), 0.7, r"labels must be one of \[0, 2\] or 255, got 3"),
        (-1, (0, 2), 0.7, "got -1"),
        (0, (), 0.7, r"class_ids must be 1 to 255 different ids, got \[\]"),
        (0, (0, 2, 0), 0.7, r"different ids, got \[0, 2, 0\]"),
        (0, range(256), 0.7, "class_ids must be 1 to 255"),
        (0, (0, 2), 0.0, "above 0 and at most 1, got 0.0"),
        (0, (0, 2), 1.1, "above 0 and at most 1, got 1.1"),
    ],
)
def test_labels_that_are_no_scores_are_refused(label, class_ids, certainty, message):
    labels = torch.full((2, 2), label)
    with pytest.raises(ValueError, match=message):
        scores_from_labels(labels, class_ids, certainty=certainty)
