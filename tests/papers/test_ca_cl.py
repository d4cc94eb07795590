"""Equations of CA-CL and the losses of CLIMS, by hand.

Eq. 2-9 look at one image of four pixels, of which two are not black:

    A = (3, 3, 0) with P = 1     foreground (3, 3, 0), background (0, 0, 0)
    B = (0, 5, 0) with P = 0.2   foreground (0, 1, 0), background (0, 4, 0)

Its encoder sums the pixels, hence f_i(FG) = (3, 4, 0), of length 5, and
f_i(BG) = (0, 4, 0), of length 4.
"""

import math

import pytest
import torch
from torch import nn

from tag2mask.functional.background_gate import (
    Motion,
    drift,
    move_thresholds,
    pass_above,
)
from tag2mask.functional.clip_losses import (
    PairCosines,
    background_suppression,
    ca_cl_losses,
    clims_losses,
    contrast_loss,
    size_prior,
)
from tag2mask.functional.image_text_pairs import (
    choose_context,
    cosines,
    find_pairs,
    foreground_and_background,
    maps_of_pairs,
)
from tag2mask.models.backbones import Backbone
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.suppression_gate import SuppressionGate
from tag2mask.models.text_network import TextNetwork

IMAGE = torch.zeros(1, 3, 2, 2)
IMAGE[0, :, 0, 0] = torch.tensor([3.0, 3.0, 0.0])
IMAGE[0, :, 0, 1] = torch.tensor([0.0, 5.0, 0.0])
PROBABILITIES = torch.tensor([[[1.0, 0.2], [0.7, 0.7]]])
CONTEXTS = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])


def encode():
    """Return f_i(FG) and f_i(BG)."""
    both = foreground_and_background(IMAGE, PROBABILITIES, torch.tensor([0]))
    return both.sum(dim=(2, 3)).chunk(2)


class ImageAsFeatures(Backbone):
    """Z is the image itself."""

    def __init__(self):
        nn.Module.__init__(self)
        self.num_channels = 3

    def forward(self, images):
        return images


def test_eq_1_probabilities():
    # W_1 . Z = 1 * 1 - 1 * 2 = -1 and W_2 . Z = 2 * 0.5 = 1
    cam = CamNetwork(ImageAsFeatures(), num_tags=2, dropout=0.0)
    weight = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    cam.head.weight.data = weight.view(2, 3, 1, 1)
    z = torch.tensor([1.0, 0.5, 2.0]).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    network = TextNetwork(cam, SuppressionGate(2), num_contexts=1)
    probabilities = network(z)
    assert probabilities.shape == (1, 2, 4, 5)
    expected = torch.tensor([0.268941, 0.731059]).view(1, 2, 1, 1)
    torch.testing.assert_close(probabilities, expected.expand(1, 2, 4, 5))


def test_eq_2_foreground_and_background():
    both = foreground_and_background(IMAGE, PROBABILITIES, torch.tensor([0]))
    assert both.shape == (2, 3, 2, 2)
    assert both[0, :, 0, 0].tolist() == [3, 3, 0]
    assert both[1, :, 0, 0].tolist() == [0, 0, 0]
    torch.testing.assert_close(both[0, :, 0, 1], torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(both[1, :, 0, 1], torch.tensor([0.0, 4.0, 0.0]))
    torch.testing.assert_close(both[0] + both[1], IMAGE[0])


def test_eq_2_takes_the_map_of_the_class_at_the_size_of_the_encoder():
    # image 1 shows class 1; its map is 0 on the left and 1 on the right. Centres of
    # four pixels lie at 1/4, 3/4, ... of two: 0, 0.25, 0.75, 1
    pairs = find_pairs(torch.tensor([[False, False], [False, True]]))
    assert pairs.images.tolist() == [1]
    assert pairs.classes.tolist() == [1]
    maps = torch.full((2, 2, 2, 2), 9.0)
    maps[1, 1] = torch.tensor([0.0, 1.0])
    resized = maps_of_pairs(maps, pairs, size=4)
    assert resized.tolist() == [[[0, 0.25, 0.75, 1]] * 4]


def test_eq_3_and_4_context_closest_to_the_foreground():
    foreground, _ = encode()
    similarities = cosines(foreground, CONTEXTS)
    torch.testing.assert_close(similarities, torch.tensor([[3 / 5, 4 / 5, 0]]))
    assert choose_context(similarities).tolist() == [1]


def test_eq_5_and_7_foreground_and_background_to_the_chosen_text():
    foreground, background = encode()
    text = CONTEXTS[:, [1]]
    assert cosines(foreground, text).item() == pytest.approx(0.8)
    assert cosines(background, text).item() == pytest.approx(1)
    assert cosines(background, 7 * text).item() == pytest.approx(1)


def test_eq_6_contrast():
    # 0.5 - 0.8 + 1 = 0.7 and 0.5 - 0.9 + 0.1 = -0.3, which is none: (0.7 + 0) / 2
    contrast = contrast_loss(torch.tensor([0.8, 0.9]), torch.tensor([1.0, 0.1]))
    assert contrast.loss.item() == pytest.approx(0.35)
    assert contrast.active.item() == 0.5


def test_eq_8_and_9_foreground_to_background_prompts():
    # (3, 4, 0) / 5 with (1, 0, 0), (0, 0, 1) and (8, 6, 0) / 10: 0.6, 0, 0.96
    foreground, _ = encode()
    prompts = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [8.0, 6.0, 0.0]]])
    torch.testing.assert_close(
        cosines(foreground, prompts), torch.tensor([[0.6, 0.0, 0.96]])
    )


def test_eq_10_gate():
    similarities = torch.tensor([[0.2, 0.3, 0.6], [0.2, 0.3, 0.6]])
    theta, width = torch.tensor([0.3, 0.61]), torch.ones(2)
    gate = pass_above(similarities, theta, width=width)
    assert gate.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_eq_11_step_of_the_threshold():
    # theta 0.4, s = 0.2 and 0.6, width 2 * 0.1: sigmoid' at -1 and at 1 is 0.196612
    # dL/dtheta = -(0.223144 + 0.916291) / 2 * 0.196612 / 0.2 = -0.560070
    # theta' = 0.4 - 0.5 * 0.1^2 * -0.560070, rate 0.5 in squared deviations
    theta, deviation = torch.tensor([0.4]), torch.tensor([0.1])
    similarities = torch.tensor([[0.2, 0.6]])
    force = drift(similarities, theta, deviation, temperature=2.0)
    assert force.item() == pytest.approx(0.0560070, abs=1e-6)
    motion = Motion(rate=0.5, temperature=2.0)
    moved = move_thresholds(
        theta, force, mean=theta, deviation=deviation, motion=motion
    )
    assert moved.item() == pytest.approx(0.4 + 0.5 * 0.01 * 0.560070, abs=1e-6)


def test_eq_11_of_the_gate_is_the_drift_less_the_pull():
    # as above, but the class's own mean and deviation are 0.4 and 0.2: width 0.4,
    # sigmoid' at -0.5 and 0.5 is 0.235004; drift 1.139434 / 2 * 0.235004 / 2 = 0.066943
    # half passes and 0.2 should: 3 * (0.5 - 0.2) = 0.9
    # theta' = 0.4 + 0.5 * 0.2 * (0.066943 + 0.9)
    motion = Motion(rate=0.5, temperature=2.0, pull=3.0)
    gate = SuppressionGate(1, theta=0.4, motion=motion)
    passed = gate(torch.tensor([[0.2, 0.6]]), torch.tensor([0]))
    assert passed.tolist() == [[0, 1]]
    assert gate.theta.item() == pytest.approx(0.4966943, abs=1e-6)


# -log(1 - 0.5) - log(1 - 0.75) = 0.693147 + 1.386294 = 2.079442; of three images one
# has no pair
@pytest.mark.parametrize(
    ("reduction", "expected"), [("mean", 2.079442 / 3), ("sum", 2.079442)]
)
def test_eq_12_background_suppression(reduction, expected):
    similarities = torch.tensor([[0.2, 0.5], [0.75, 0.9]])
    gate = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    loss = background_suppression(similarities, gate, num_images=3, reduction=reduction)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_eq_12_gradient():
    # d/ds of -log(1 - s) is 1 / (1 - s): 1 / 0.5 where the gate is open
    similarities = torch.tensor([[0.2, 0.5]], requires_grad=True)
    gate = torch.tensor([[0.0, 1.0]])
    background_suppression(similarities, gate, num_images=1).backward()
    assert similarities.grad.tolist() == [[0, 2]]


def test_eq_13_size_prior():
    # (0.2 + 0.4 + 0 + 0.6) / 4, of two images with one class or one with two
    maps = torch.tensor([0.2, 0.4, 0.0, 0.6])
    assert size_prior(maps.view(2, 1, 1, 2)).item() == pytest.approx(0.3)
    assert size_prior(maps.view(1, 2, 2, 1)).item() == pytest.approx(0.3)


def test_eq_14_total():
    # eq. 6: 0.7; eq. 12: (-log(1 - 0.75)) / 2 images; eq. 13: 0.3
    # 40 * 0.7 + 1 * 0.693147 + 0.4 * 0.3 = 28 + 0.693147 + 0.12
    pairs = PairCosines(
        torch.tensor([0.8]), torch.tensor([1.0]), torch.tensor([[0.75, 0.2]])
    )
    gate = torch.tensor([[1.0, 0.0]])
    losses = ca_cl_losses(pairs, gate, torch.full((2, 3, 1, 1), 0.3))
    assert losses.contrast.item() == pytest.approx(28)
    assert losses.background.item() == pytest.approx(0.693147, abs=1e-6)
    assert losses.size.item() == pytest.approx(0.12)
    assert losses.total.item() == pytest.approx(28.813147, abs=1e-5)
    assert losses.active.item() == 1


def test_clims():
    # 10 (0.693147 + 1.386294) / 2 = 10.397208; 24 (0.693147 + 0) / 2 = 8.317766;
    # 1 * 1.386294, summed over the batch; 0.2 * 0.3 = 0.06
    pairs = PairCosines(
        torch.tensor([0.5, 0.25]),
        torch.tensor([0.5, 0.0]),
        torch.tensor([[0.75], [0.2]]),
    )
    gate = torch.tensor([[1.0], [0.0]])
    losses = clims_losses(pairs, gate, torch.full((2, 3, 1, 1), 0.3))
    assert losses.foreground.item() == pytest.approx(10.397208, abs=1e-5)
    assert losses.background.item() == pytest.approx(8.317766, abs=1e-5)
    assert losses.suppression.item() == pytest.approx(-math.log(0.25))
    assert losses.size.item() == pytest.approx(0.06)
    assert losses.total.item() == pytest.approx(20.161268, abs=1e-5)
