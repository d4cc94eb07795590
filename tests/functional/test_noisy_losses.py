import math

import pytest
import torch
from torch import Tensor

from tag2mask.functional.noisy_losses import log_constrained, positive_negative_loss
from tag2mask.functional.shapes import IGNORE

READINGS = ("constrained", "plain", "eq4")
readings = pytest.mark.parametrize("weight_from", READINGS)


def batch(
    *, num_classes: int = 4, num_complements: int = 2, random_seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels with some ignored, clean flags and complements."""
    generator = torch.Generator().manual_seed(random_seed)
    shape = (2, 3, 5)

    def classes(*size: int) -> Tensor:
        return torch.randint(num_classes, size, generator=generator)

    logits = 3 * torch.randn(2, num_classes, 3, 5, generator=generator)
    labels = classes(*shape).masked_fill(classes(*shape) == 0, IGNORE)
    clean = classes(*shape) > 1
    return logits, labels, clean, classes(2, num_complements, 3, 5)


def loss_by_hand(logits, labels, clean, complement, tau, weight_from) -> float:
    """One pixel after the other, with the sums written out."""
    summed, count = 0.0, 0
    for b, h, w in torch.cartesian_prod(*map(torch.arange, labels.shape)).tolist():
        if labels[b, h, w] == IGNORE:
            continue
        count += 1
        z = logits[b, :, h, w].double()
        p, p_star = z.softmax(0), (z / (tau * z.norm())).softmax(0)
        under_log = p if weight_from == "eq4" else p_star
        weighing = p_star if weight_from == "constrained" else p
        if clean[b, h, w]:
            y = labels[b, h, w]
            weight = math.prod(1 + weighing[y].item() ** 2**x for x in range(4))
            summed -= weight * under_log[y].log().item()
        else:
            terms = [
                (1 - weighing[c]) * (1 - under_log[c]).log()
                for c in complement[b, :, h, w].tolist()
            ]
            summed -= sum(terms).item() / len(terms)
    return summed / count


@readings
@pytest.mark.parametrize("tau", [1.0, 0.1])
def test_loss_equals_the_sums_written_out(weight_from, tau):
    given_batch = batch()
    loss = positive_negative_loss(*given_batch, tau=tau, weight_from=weight_from)
    by_hand = loss_by_hand(*given_batch, tau, weight_from)
    assert loss.total.item() == pytest.approx(by_hand, rel=1e-5)


def test_every_reading_and_tau_is_alive():
    totals = {
        positive_negative_loss(*batch(), tau=tau, weight_from=weight_from).total.item()
        for weight_from in ("constrained", "plain")
        for tau in (1.0, 0.1)
    }
    totals.add(positive_negative_loss(*batch(), weight_from="eq4").total.item())
    assert len(totals) == 5


def test_readings_agree_where_stretched_logits_are_the_logits():
    logits, *rest = batch()
    unit = logits / logits.norm(dim=1, keepdim=True)
    constrained, plain, eq4 = (
        positive_negative_loss(unit, *rest, tau=1.0, weight_from=reading).total
        for reading in READINGS
    )
    torch.testing.assert_close(constrained, plain)
    torch.testing.assert_close(constrained, eq4)


@readings
def test_gradient_is_that_of_the_loss_with_its_weights_held(weight_from):
    logits, labels, clean, complement = batch()
    logits = logits.double().requires_grad_()
    knobs = {"tau": 0.5, "weight_from": weight_from}
    rest = (labels, clean, complement)
    positive_negative_loss(logits, *rest, **knobs).total.backward()

    plain, stretched = (
        maps.log_softmax(1)
        for maps in (logits, logits / (0.5 * logits.norm(dim=1, keepdim=True)))
    )
    under_log = plain if weight_from == "eq4" else stretched
    weighing = stretched if weight_from == "constrained" else plain
    p = weighing.detach().exp()
    labelled = labels != IGNORE
    onto_label = torch.nn.functional.one_hot(labels.clamp(max=3), 4).movedim(-1, 1)
    onto_label = onto_label * (labelled & clean).unsqueeze(1)
    onto_complement = torch.nn.functional.one_hot(complement, 4).double().mean(1)
    onto_complement = onto_complement.movedim(-1, 1)
    onto_complement = onto_complement * (labelled & ~clean).unsqueeze(1)
    loss = -(onto_label * (1 - p**16) / (1 - p) * under_log).sum()
    loss -= (onto_complement * (1 - p) * (1 - under_log.exp()).log()).sum()
    (expected,) = torch.autograd.grad(loss / labelled.sum(), logits)
    torch.testing.assert_close(logits.grad, expected)


@readings
def test_ignored_pixels_count_nowhere(weight_from):
    logits, labels, clean, complement = batch()
    ignored = labels == IGNORE
    assert ignored.any()
    assert (~ignored).any()
    loss = positive_negative_loss(
        logits, labels, clean, complement, weight_from=weight_from
    )
    changed = torch.where(ignored.unsqueeze(1), 50 - logits, logits)
    same = positive_negative_loss(
        changed, labels, clean ^ ignored, complement, weight_from=weight_from
    )
    for part, other in zip(loss, same, strict=True):
        torch.testing.assert_close(part, other)


def test_a_pixel_without_complement_adds_nothing_yet_counts():
    logits, labels, clean, complement = batch()
    clean, labels = torch.zeros_like(clean), labels.clamp(max=3)
    nowhere = torch.full_like(complement, IGNORE)
    assert positive_negative_loss(logits, labels, clean, nowhere).total == 0
    half = torch.cat([complement[:1], nowhere[:1]])
    loss = positive_negative_loss(logits, labels, clean, half)
    alone = positive_negative_loss(logits[:1], labels[:1], clean[:1], complement[:1])
    torch.testing.assert_close(loss.negative, alone.negative / 2)


def test_complements_are_averaged():
    logits, labels, clean, complement = batch(num_complements=2)
    both, *each = (
        positive_negative_loss(logits, labels, clean, complement[:, chosen]).negative
        for chosen in ([0, 1], [0], [1])
    )
    torch.testing.assert_close(both, sum(each) / 2)


def test_unweighted_positive_is_a_mean_over_clean_pixels_without_gradient():
    logits, labels, clean, complement = batch()
    loss = positive_negative_loss(
        logits.requires_grad_(), labels, clean, complement, tau=0.3
    )
    believed = labels.masked_fill(~clean, IGNORE)
    expected = torch.nn.functional.nll_loss(
        log_constrained(logits, tau=0.3).detach(), believed, ignore_index=IGNORE
    )
    torch.testing.assert_close(loss.unweighted_positive, expected)
    assert not loss.unweighted_positive.requires_grad


def test_no_complement_at_all_leaves_positive_learning():
    logits, labels, clean, complement = batch()
    loss = positive_negative_loss(logits, labels, clean, complement[:, :0])
    assert loss.negative == 0
    assert loss.positive > 0


def test_labels_may_be_bytes():
    logits, labels, clean, complement = batch()
    torch.testing.assert_close(
        positive_negative_loss(logits, labels.byte(), clean, complement.byte()),
        positive_negative_loss(logits, labels, clean, complement),
    )


@readings
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [0.0, 1e-4, 1e4])
def test_loss_and_gradient_are_finite_at_extreme_logits(weight_from, dtype, size):
    # every class in turn is the sure one, and label and complement, right or wrong
    signs = 2 * torch.eye(4).view(1, 4, 4, 1).expand(-1, -1, -1, 4) - 1
    logits = (size * signs).to(dtype).requires_grad_()
    labels = torch.arange(4).view(1, 1, 4).expand(1, 4, 4)
    for clean in (True, False):
        flags = torch.full(labels.shape, clean)
        loss = positive_negative_loss(
            logits, labels, flags, labels.unsqueeze(1), weight_from=weight_from
        )
        loss.total.backward()
        assert loss.total.dtype == torch.float32
        assert all(part.isfinite() for part in loss)
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("tau", [0.0, -0.1])
def test_tau_is_above_zero(tau):
    with pytest.raises(ValueError, match=f"tau must be above 0, got {tau}"):
        positive_negative_loss(*batch(), tau=tau)
