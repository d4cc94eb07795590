"""IRNet (Ahn et al., CVPR 2019), worked by hand."""

import math

import pytest
import torch

from tag2mask.functional.affinity import (
    affinity_loss,
    displacement_loss,
    join_confident,
    labels_above,
    sample_labels,
)


def labels(*rows):
    return torch.tensor([rows], dtype=torch.uint8)


def test_labels_of_two_thresholds():
    cams = torch.tensor([[[0.9, 0.30, 0.1, 0.04]], [[0.2, 0.29, 0.2, 0.01]]])
    # best 0.9 and 0.30 of tag 3 (which reaches the threshold), 0.2 of tag 5, 0.04
    sure = labels_above(cams, (3, 5), threshold=0.30)
    assert sure.tolist() == [[3, 3, 0, 0]]
    any_object = labels_above(cams, (3, 5), threshold=0.05)
    assert any_object.tolist() == [[3, 3, 5, 0]]
    # 0.2 is neither surely an object nor surely background
    assert join_confident(sure, any_object).tolist() == [[3, 3, 255, 0]]


def test_background_needs_both_maps():
    sure = torch.tensor([[4, 4, 0, 0]], dtype=torch.uint8)
    loose = torch.tensor([[4, 0, 4, 0]], dtype=torch.uint8)
    # an object of the strict map stays, whatever a CRF made of the other one
    assert join_confident(sure, loose).tolist() == [[4, 4, 255, 0]]


def test_labels_are_read_in_the_middle_of_their_cells():
    full = torch.arange(10, dtype=torch.uint8).expand(1, 6, 10)
    # columns 2 and 6, and 10, which lies outside and becomes the last one
    found = sample_labels(full, size=(2, 3), stride=4)
    assert found.tolist() == [[[2, 6, 9]] * 2]


def test_eq_3_and_9_loss_of_pairs():
    edges = torch.tensor([[[0.2, 0.5, 0.8]]])
    loss = affinity_loss(edges.logit(), labels([1, 1, 0]), radius=3)
    # objects: pixels 0 and 1, strongest edge 0.5: -log(1 - 0.5)
    assert loss.foreground.item() == pytest.approx(math.log(2))
    # two classes: 1 and 2, 0 and 2, strongest edge 0.8 twice: -log(0.8)
    assert loss.negative.item() == pytest.approx(-math.log(0.8))
    assert loss.background.item() == 0
    expected = ((math.log(2) + 0) / 2 - math.log(0.8)) / 2
    assert loss.total.item() == pytest.approx(expected)


def test_eq_9_background_is_a_kind_of_its_own():
    edges = torch.tensor([[[0.1, 0.2, 0.4, 0.3]]])
    loss = affinity_loss(edges.logit(), labels([0, 0, 2, 2]), radius=2)
    # neighbours only: 0-0 with 0.2, 0-2 with 0.4, 2-2 with 0.4
    found = [each.item() for each in loss]
    expected = [-math.log(0.6), -math.log(0.8), -math.log(0.4)]
    assert found == pytest.approx(expected)


def test_a_path_has_its_ends_and_what_lies_between():
    edges = torch.tensor([[[0.1, 0.9, 0.1]]])
    loss = affinity_loss(edges.logit(), labels([1, 255, 1]), radius=3)
    # the ends are far from an edge, what is between them is on one
    assert loss.foreground.item() == pytest.approx(-math.log(0.1), abs=1e-5)


def test_eq_5_to_8_displacements():
    columns = torch.tensor([[[1.0, -1.0, 3.0, 1.0]]])
    displacement = torch.stack([torch.zeros_like(columns), columns], dim=1)
    loss = displacement_loss(displacement, labels([1, 1, 0, 0]), radius=2)
    # object: 1 - (-1) = 2 is to be the distance 1: an error of 1 and, of rows, of 0
    assert loss.foreground.item() == pytest.approx(0.5)
    # background: 3 - 1 = 2 is to be 0
    assert loss.background.item() == pytest.approx(1.0)
    assert loss.total.item() == pytest.approx(0.75)


def test_displacements_to_one_centre_cost_nothing():
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    to_centre = torch.stack([1.7 - rows, 2.2 - columns])[None]
    objects = torch.full((1, 5, 6), 3, dtype=torch.uint8)
    loss = displacement_loss(to_centre, objects, radius=4)
    assert loss.total.item() == pytest.approx(0, abs=1e-6)
