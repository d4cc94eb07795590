"""Equations of multi-seed aggregation and positive-negative learning, by hand.

Most tests look at one pixel with two classes and the logits z = (3, 4), label 1:

    |z| = 5; softmax(z)_1 = 1 / (1 + e^-1) = 0.731059, log = -0.313262
    tau 1:   z / |z| = (0.6, 0.8), p*_1 = 1 / (1 + e^-0.2) = 0.549834, log = -0.598139
    tau 0.2: z / (tau |z|) = z itself, so p* is the plain softmax
"""

import math

import pytest
import torch
from torch import Tensor

from tag2mask.functional.cam import class_activation, normalise_cams
from tag2mask.functional.noisy_losses import (
    cross_entropy_loss,
    log_constrained,
    positive_negative_loss,
    positive_weight,
)
from tag2mask.functional.seeding import (
    background_score,
    join_background,
    labels_from_scores,
)
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import is_clean, vote

READINGS = ("constrained", "plain", "eq4")


def pixels(*logits: tuple[float, ...]) -> Tensor:
    """One image, one row: a pixel per tuple."""
    return torch.tensor(logits, dtype=torch.float64).T[None, :, None, :].contiguous()


def row(*values: int) -> Tensor:
    return torch.tensor(values).view(1, 1, -1)


def learn(logits: Tensor, labels: tuple[int, ...], clean: tuple[int, ...], **knobs):
    """The loss where every noisy pixel is taught not to be class 0."""
    complement = torch.zeros_like(row(*labels)).unsqueeze(1)
    knobs = {"tau": 1.0} | knobs
    return positive_negative_loss(
        logits, row(*labels), row(*clean).bool(), complement, **knobs
    )


def largest_probability(num_classes: int, tau: float) -> float:
    """Of all z of length 1, the one furthest above the mean of the rest.

    With s on the label, -s / (k - 1) on the others and length one, s - other is
    sqrt(k / (k - 1)); no z of length one does better (Cauchy-Schwarz).
    """
    gap = math.sqrt(num_classes / (num_classes - 1)) / tau
    return 1 / (1 + (num_classes - 1) * math.exp(-gap))


def furthest_logits(num_classes: int) -> Tensor:
    """Three pixels of class 0, as sure of it as logits can be."""
    others = -1 / (num_classes - 1)
    return pixels(*[(1.0, *[others] * (num_classes - 1))] * 3)


def test_eq_2_activation_and_its_division_by_the_maximum():
    # ReLU(-1, 2, 4) = (0, 2, 4), over 4 + 1e-5
    maps = class_activation(torch.tensor([-1.0, 2.0, 4.0]).view(1, 1, 1, 3))
    expected = torch.tensor([0, 2 / 4.00001, 4 / 4.00001])
    torch.testing.assert_close(normalise_cams(maps).flatten(), expected)


def test_section_2_2_background_joins_the_objects():
    # pixel 1: max 0.5, background (1 - 0.5)^2 = 0.25 < 0.5: the object, VOC's dog
    # pixel 2: max 0.3, background (1 - 0.3)^2 = 0.49 > 0.3: background
    cams = torch.tensor([[0.5, 0.3], [0.4, 0.1]]).view(2, 1, 2)
    background = background_score(cams, alpha=2.0)
    torch.testing.assert_close(background, torch.tensor([[0.25, 0.49]]))
    scores = join_background(cams, background)
    assert labels_from_scores(scores, [0, 12, 15]).tolist() == [[12, 0]]


def test_section_2_3_figure_5():
    # six seeds; the monitor (20) is named 4 times, the person (15) 3 times
    ballots = torch.tensor(
        [[20, 20, 20, 20, 0, 9], [15, 15, 15, 0, 0, 9]], dtype=torch.uint8
    )
    labels, support = vote(ballots.T.view(6, 1, 2))
    assert labels.tolist() == [[20, 15]]
    assert support.tolist() == [[4, 3]]
    assert is_clean(support, min_support=3).tolist() == [[True, True]]
    assert is_clean(support, min_support=4).tolist() == [[True, False]]


def test_eq_3_cross_entropy():
    # (0.313262 for label 1 + 1.313262 for label 0) / 2, the third pixel ignored
    loss = cross_entropy_loss(pixels((3, 4), (3, 4), (9, 0)), row(1, 0, IGNORE))
    assert loss.item() == pytest.approx(0.813262, abs=1e-6)


def test_eq_4_weight_at_one_half():
    # (1 + 1/2)(1 + 1/4)(1 + 1/16)(1 + 1/256) = 2 (1 - 2^-16)
    half = torch.tensor(0.5, dtype=torch.float64)
    assert positive_weight(half).item() == pytest.approx(1.999969482421875, abs=1e-12)


def test_eq_4_weight_telescopes():
    p = torch.linspace(0, 0.99, 100, dtype=torch.float64)
    torch.testing.assert_close(positive_weight(p), (1 - p**16) / (1 - p))
    ends = positive_weight(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == [1, 16]


def test_eq_5_gradient_of_weight_and_log_of_one_distribution():
    # -w(p)(1 - p) = -(1 - p^16), p = 0.731059: p^2 = 0.534447, p^4 = 0.285633,
    # p^8 = 0.0815863, p^16 = 0.00665633
    logits = pixels((3, 4)).requires_grad_()
    learn(logits, (1,), (1,), weight_from="eq4").total.backward()
    assert logits.grad[0, 1, 0, 0].item() == pytest.approx(-0.99334367, abs=1e-6)


def test_eq_5_holds_for_constrained_weights_in_the_stretched_logits():
    # z of length one at tau 1 is its own stretched form; to leave out eq. 7's second
    # part, which keeps the length, the gradient is taken through u = z / (tau |z|)
    stretched = torch.tensor([0.6, 0.8], dtype=torch.float64, requires_grad=True)
    log_p = stretched.log_softmax(dim=0)[1]
    (-positive_weight(log_p.detach().exp()) * log_p).backward()
    p = 1 / (1 + math.exp(-0.2))
    assert stretched.grad[1].item() == pytest.approx(-(1 - p**16))


def test_eq_6_gradient_of_cross_entropy():
    # p - y = (0.268941, 0.731059 - 1)
    logits = pixels((3, 4)).requires_grad_()
    cross_entropy_loss(logits, row(1)).backward()
    expected = torch.tensor([0.268941, -0.268941], dtype=torch.float64)
    torch.testing.assert_close(logits.grad.flatten(), expected, atol=1e-6, rtol=0)


def test_eq_7_gradient_of_the_constrained_log():
    # p* - y = (0.450166, -0.450166); sum_i z_i (p*_i - y_i) = (3 - 4) 0.450166
    # j = 0: (0.450166 + 3/25 * 0.450166) / 5 = 0.100837
    # j = 1: (-0.450166 + 4/25 * 0.450166) / 5 = -0.0756279
    logits = pixels((3, 4)).requires_grad_()
    (-log_constrained(logits, tau=1.0)[0, 1, 0, 0]).backward()
    expected = torch.tensor([0.1008372, -0.0756279], dtype=torch.float64)
    torch.testing.assert_close(logits.grad.flatten(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("tau", [1.0, 0.1])
def test_eq_7_gradient_at_any_tau_and_number_of_classes(tau):
    z = [0.3, -1.2, 2.0, 0.5]
    norm = math.sqrt(sum(value**2 for value in z))
    powers = [math.exp(value / (tau * norm)) for value in z]
    error = [power / sum(powers) - (i == 2) for i, power in enumerate(powers)]
    slope = sum(value * wrong for value, wrong in zip(z, error, strict=True)) / norm**2
    expected = [
        (wrong - value * slope) / (tau * norm)
        for value, wrong in zip(z, error, strict=True)
    ]
    logits = pixels(tuple(z)).requires_grad_()
    (-log_constrained(logits, tau=tau)[0, 2, 0, 0]).backward()
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor(expected).double())


# w(0.731059) = (1 - 0.00665633) / 0.268941 = 3.693534
# p* = 0.549834: p^2 = 0.302317, p^4 = 0.0913958, p^8 = 0.0083532, p^16 = 0.0000698,
# w(p*) = 0.9999302 / 0.450166 = 2.221248
@pytest.mark.parametrize(
    ("weight_from", "expected"),
    [
        ("constrained", 2.221248 * 0.598139),
        ("plain", 3.693534 * 0.598139),
        ("eq4", 3.693534 * 0.313262),
    ],
)
def test_eq_8_positive_learning(weight_from, expected):
    loss = learn(pixels((3, 4)), (1,), (1,), weight_from=weight_from)
    assert loss.positive.item() == pytest.approx(expected, abs=1e-5)
    assert loss.negative.item() == 0


# class 0 is the complement: 1 - p_0 = 0.731059 and 1 - p*_0 = 0.549834
@pytest.mark.parametrize(
    ("weight_from", "expected"),
    [
        ("constrained", 0.549834 * 0.598139),
        ("plain", 0.731059 * 0.598139),
        ("eq4", 0.731059 * 0.313262),
    ],
)
def test_eq_9_negative_learning(weight_from, expected):
    loss = learn(pixels((3, 4)), (1,), (0,), weight_from=weight_from)
    assert loss.negative.item() == pytest.approx(expected, abs=1e-5)
    assert loss.positive.item() == 0


@pytest.mark.parametrize("weight_from", READINGS)
def test_eq_9_gradient_has_a_constant_weight(weight_from):
    # d/du_c of -(1 - p_c) log(1 - p_c) with the weight held is (1 - p_c) p_c; at
    # tau 1 / |z| all three readings are this one
    logits = pixels((3, 4)).requires_grad_()
    learn(logits, (1,), (0,), weight_from=weight_from, tau=0.2).total.backward()
    stretched = 0.731059 * 0.268941
    # eq. 7's second part takes the share along z away: g - z (z . g) / |z|^2
    along = 0 if weight_from == "eq4" else stretched * (3 - 4) / 25
    assert logits.grad[0, 0, 0, 0].item() == pytest.approx(
        stretched - 3 * along, abs=1e-6
    )
    assert logits.grad[0, 1, 0, 0].item() == pytest.approx(
        -stretched - 4 * along, abs=1e-6
    )


@pytest.mark.parametrize("weight_from", READINGS)
def test_eq_10_is_the_mean_over_labelled_pixels(weight_from):
    # two clean pixels, one noisy, one ignored: e = 2/3, and
    # 2/3 (a + b)/2 + 1/3 c = (a + b + c)/3
    logits = pixels((3, 4), (2, -1), (0.5, 0.1), (7, 7))
    labels, clean = (1, 0, 1, IGNORE), (1, 1, 0, 1)
    alone = [
        learn(logits[..., [i]], (labels[i],), (clean[i],), weight_from=weight_from)
        for i in range(3)
    ]
    loss = learn(logits, labels, clean, weight_from=weight_from)
    share, a, b, c = 2 / 3, *(pixel.total for pixel in alone)
    blend = share * (a + b) / 2 + (1 - share) * c
    torch.testing.assert_close(loss.total, blend)
    torch.testing.assert_close(loss.total, (a + b + c) / 3)
    assert loss.clean_share.item() == pytest.approx(share)


@pytest.mark.parametrize(
    ("labels", "clean", "share"),
    [((1, 1), (1, 1), 1), ((1, 1), (0, 0), 0), ((IGNORE, IGNORE), (1, 0), 0)],
)
def test_eq_10_survives_an_empty_set(labels, clean, share):
    logits = pixels((3, 4), (3, 4)).requires_grad_()
    loss = learn(logits, labels, clean)
    loss.total.backward()
    assert loss.clean_share.item() == share
    assert all(part.isfinite() for part in loss)
    assert logits.grad.isfinite().all()
    assert (loss.total == 0) == (labels[0] == IGNORE)


@pytest.mark.parametrize(
    ("num_classes", "tau", "bound"),
    [
        # 20 e^-sqrt(21/20) = 20 * 0.358906 = 7.17812; 1 / 8.17812
        (21, 1.0, 0.122278),
        # 80 e^-sqrt(81/80) = 80 * 0.365595 = 29.2476; 1 / 30.2476
        (81, 1.0, 0.033060),
        # 20 e^-10.24695 = 20 * 0.0000354659 = 0.00070932; 1 / 1.00070932
        (21, 0.1, 0.999291),
    ],
)
def test_constrained_probability_is_bounded(num_classes, tau, bound):
    assert largest_probability(num_classes, tau) == pytest.approx(bound, abs=2e-6)
    reached = log_constrained(furthest_logits(num_classes), tau=tau).exp().amax()
    assert reached.item() == pytest.approx(bound, abs=2e-6)
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(1, num_classes, 50, 50, generator=generator)
    assert log_constrained(logits, tau=tau).exp().amax() <= bound + 1e-5


def test_positive_loss_at_tau_1_never_falls_below_its_bound():
    # -log 0.122278 = 2.10146; with its weight (1 - 0.122278^16) / (1 - 0.122278) =
    # 1.139313 it is 2.394221, and with w near 16 it is 16 * 2.10146 = 33.6234
    sure = furthest_logits(21)
    right = learn(sure, (0, 0, 0), (1, 1, 1))
    assert right.unweighted_positive.item() == pytest.approx(2.10146, abs=1e-4)
    assert right.positive.item() == pytest.approx(2.39422, abs=1e-4)
    literal = learn(100 * sure, (0, 0, 0), (1, 1, 1), weight_from="plain")
    assert literal.positive.item() == pytest.approx(33.6234, abs=1e-2)
    assert literal.unweighted_positive.item() == pytest.approx(2.10146, abs=1e-4)


def test_literal_eq_8_pulls_background_harder_than_a_mistaken_object():
    # p = 0.97: (1 - 0.97^16) / 0.03 = (1 - 0.614254) / 0.03 = 12.8582; as p* stays
    # below 0.1223, weights of one distribution stay below 1.1394
    p = torch.tensor([0.97, 0.122278], dtype=torch.float64)
    expected = torch.tensor([12.8582, 1.139313], dtype=torch.float64)
    torch.testing.assert_close(positive_weight(p), expected, atol=1e-4, rtol=0)
