import math

import pytest
import torch

from tag2mask.functional.set_loss import (
    Targets,
    choose_points,
    class_loss,
    draw_targets,
    mask_losses,
    matching_costs,
    read_points,
    set_loss,
)


def draw(labels, believed, *, num_points=300, random_seed=0):
    generator = torch.Generator().manual_seed(random_seed)
    return draw_targets(labels, believed, num_points=num_points, generator=generator)


def test_points_are_centres_of_believed_pixels_with_their_labels():
    labels = torch.tensor([[0, 0, 3], [7, 7, 3]])
    believed = torch.tensor([[True, False, True], [False, True, True]])
    targets = draw(labels, believed)
    assert targets.classes.tolist() == [0, 3, 7]
    assert targets.masks.sum(0).tolist() == [1] * 300
    # columns of 3 lie at -2/3, 0, 2/3 and rows of 2 at -1/2, 1/2
    places = {
        (round(x.item(), 3), y.item()): targets.classes[mask.argmax()].item()
        for (x, y), mask in zip(targets.grid, targets.masks.T, strict=True)
    }
    assert places == {
        (-0.667, -0.5): 0,
        (0.667, -0.5): 3,
        (0.0, 0.5): 7,
        (0.667, 0.5): 3,
    }


def test_labels_are_read_back_at_the_points():
    labels = torch.arange(20).view(4, 5).byte()
    targets = draw(labels, torch.ones(4, 5, dtype=torch.bool))
    read = read_points(labels[None].float(), targets.grid)[0]
    assert torch.equal(read.round().long(), targets.classes[targets.masks.argmax(0)])


def test_class_that_no_point_met_is_shown_all_the_same():
    labels = torch.zeros(50, 50, dtype=torch.int64)
    labels[0, 0] = 1
    targets = draw(labels, labels >= 0, num_points=3)
    assert targets.classes.tolist() == [0, 1]


def test_without_believed_pixel_there_is_no_target():
    labels = torch.zeros(2, 2, dtype=torch.uint8)
    targets = draw(labels, torch.zeros(2, 2, dtype=torch.bool))
    assert [len(each) for each in targets[:2]] == [0, 0]


def test_costs_by_hand():
    # one target: class 1, on at the first of two points. Query 0: p_1 = 0.5, masks
    # sigmoid(0) = 1/2: -2 * 0.5 + 5 * log 2 + 5 * (1 - (2 * 0.5 + 1) / (1 + 1 + 1))
    # = -1 + 3.465736 + 1.666667 = 4.132402
    targets = Targets(torch.tensor([1]), torch.tensor([[1.0, 0.0]]), torch.zeros(2, 2))
    classes = torch.tensor([[0.25, 0.5, 0.25], [0.98, 0.01, 0.01]]).log()
    found = matching_costs(classes, torch.zeros(2, 2), targets)
    assert found[0, 0].item() == pytest.approx(4.132402, abs=1e-5)
    # query 1 differs by its class alone: -0.02 instead of -1
    assert (found[0, 1] - found[0, 0]).item() == pytest.approx(0.98, abs=1e-5)


def test_mask_losses_by_hand():
    # masks 1/2 at two points, truth 1 and 0, of two masks: 2 log 2 and
    # 2 * (1 - (2 * 0.5 + 1) / (1 + 1 + 1)) = 2/3
    bits, dice = mask_losses(torch.zeros(2, 2), torch.tensor([[1.0, 0.0]] * 2))
    assert bits.item() == pytest.approx(2 * math.log(2))
    assert dice.item() == pytest.approx(2 / 3)


def test_class_loss_by_hand():
    # p = 1/2 and, of "no object" with weight 0.1, 1/4: (log 2 + 0.1 log 4) / 1.1
    logits = torch.tensor([[0.5, 0.5], [0.75, 0.25]]).log()
    found = class_loss(logits, torch.tensor([0, 1]))
    assert found.item() == pytest.approx((math.log(2) + 0.1 * math.log(4)) / 1.1)


def test_undecided_points_are_chosen_and_a_quarter_by_chance():
    logits = torch.tensor([[9.0, -8.0, 0.1, -0.2, 0.3, 7.0]])
    assert sorted(choose_points(logits, num_points=4)[0].tolist()) == [0, 2, 3, 4]


LABELS = torch.tensor([[0, 0, 1, 1]] * 4)


def answer(order=(0, 1, 2)):
    """Three queries: background left, object right, nothing."""
    left = torch.where(LABELS == 0, 20.0, -20.0)
    masks = torch.stack([left, -left, torch.full((4, 4), -20.0)])
    classes = 20.0 * torch.eye(3)
    return classes[list(order)][None], masks[list(order)][None]


def test_right_answer_costs_nothing_in_any_order():
    targets = [draw(LABELS, LABELS >= 0)]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        assert sum(set_loss(*answer(order), targets)).item() < 1e-2


def test_each_part_is_alive():
    targets = [draw(LABELS, LABELS >= 0)]
    right = set_loss(*answer(), targets)
    classes, masks = answer()
    wrong_class = set_loss(classes * 0, masks, targets)
    assert wrong_class.classes > right.classes + 1
    assert wrong_class.masks == right.masks
    wrong_mask = set_loss(classes, masks * 0, targets)
    assert wrong_mask.masks > right.masks + 1
    assert wrong_mask.dice > right.dice + 1
    assert wrong_mask.classes == right.classes


def test_noisy_pixels_teach_nothing():
    believed = torch.ones(4, 4, dtype=torch.bool)
    believed[2:] = False
    other = LABELS.clone()
    other[2:] = 1 - other[2:]
    classes, masks = torch.randn(1, 3, 3), torch.randn(1, 3, 4, 4, requires_grad=True)
    found = [
        set_loss(classes, masks, [draw(each, believed)]) for each in (LABELS, other)
    ]
    assert found[0] == found[1]
    sum(found[0]).backward()
    assert (masks.grad[:, :, :2] != 0).any()
    assert (masks.grad[:, :, 2:] == 0).all()


def test_image_without_believed_pixel_teaches_nothing():
    nothing = draw(LABELS, LABELS < 0)
    some = draw(LABELS, LABELS >= 0)
    classes, masks = torch.randn(2, 3, 3), torch.randn(2, 3, 4, 4)
    alone = set_loss(classes[:1], masks[:1], [some])
    assert set_loss(classes, masks, [some, nothing]) == alone
    assert sum(set_loss(classes, masks, [nothing, nothing])) == 0


def test_masks_are_a_mean_over_the_targets_of_the_batch():
    classes, masks = torch.randn(1, 3, 3), torch.randn(1, 3, 4, 4)
    some = draw(LABELS, LABELS >= 0)
    once = set_loss(classes, masks, [some])
    twice = set_loss(classes.repeat(2, 1, 1), masks.repeat(2, 1, 1, 1), [some, some])
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one, other)


def test_more_classes_than_queries_leave_some_out():
    labels = torch.arange(4).expand(4, 4)
    classes = 20.0 * torch.eye(5)[None, 2:4]
    masks = torch.where(labels == torch.tensor([2, 3]).view(2, 1, 1), 20.0, -20.0)
    assert sum(set_loss(classes, masks[None], [draw(labels, labels >= 0)])) < 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 1e4])
def test_loss_and_gradient_are_finite_at_extreme_logits(dtype, size):
    classes = (size * (2 * torch.eye(3) - 1))[None].to(dtype).requires_grad_()
    signs = torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)
    masks = (size * signs).expand(1, 3, 4, 4).to(dtype).detach().requires_grad_()
    loss = sum(set_loss(classes, masks, [draw(LABELS, LABELS >= 0)]))
    loss.backward()
    assert loss.isfinite()
    assert classes.grad.isfinite().all()
    assert masks.grad.isfinite().all()
