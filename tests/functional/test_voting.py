import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import count_votes, is_clean, vote

CAT, DOG = 1, 2
law = settings(deadline=None, max_examples=30)


@st.composite
def ballots(draw, max_voters: int = 5) -> torch.Tensor:
    voters = draw(st.integers(1, max_voters))
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=3))
    labels = st.sampled_from([0, CAT, DOG, 254, IGNORE])
    return torch.from_numpy(draw(arrays("uint8", (voters, *shape), elements=labels)))


def one_pixel(*labels: int) -> torch.Tensor:
    return torch.tensor(labels, dtype=torch.uint8).view(-1, 1, 1)


def count_by_hand(labels: list[int]) -> tuple[int, int]:
    tally = {label: labels.count(label) for label in labels if label != IGNORE}
    if not tally:
        return IGNORE, 0
    support = max(tally.values())
    return min(label for label, count in tally.items() if count == support), support


@pytest.mark.parametrize(
    ("labels", "winner", "support"),
    [
        ((CAT, CAT, DOG), CAT, 2),
        ((CAT, DOG, 0), 0, 1),  # a tie goes to background
        ((DOG, CAT, DOG, CAT), CAT, 2),  # and else to the lower class
        ((CAT, IGNORE, IGNORE), CAT, 1),  # an abstention is not a vote
        ((IGNORE, IGNORE, IGNORE), IGNORE, 0),
        ((254, 254, 0), 254, 2),  # the highest class that a label map can hold
    ],
)
def test_majority_wins(labels, winner, support):
    result = vote(one_pixel(*labels))
    assert (result.labels.item(), result.support.item()) == (winner, support)


@law
@given(ballots())
def test_vote_equals_a_count_by_hand(votes):
    result = vote(votes)
    for row in range(votes.shape[1]):
        for column in range(votes.shape[2]):
            assert (
                result.labels[row, column].item(),
                result.support[row, column].item(),
            ) == count_by_hand(votes[:, row, column].tolist())


@law
@given(ballots(), st.randoms())
def test_order_of_voters_does_not_matter(votes, random):
    order = random.sample(range(len(votes)), k=len(votes))
    for first, second in zip(vote(votes), vote(votes[order]), strict=True):
        assert torch.equal(first, second)


@law
@given(ballots(max_voters=1), st.integers(1, 4))
def test_unanimous_voters_elect_what_they_say(votes, voters):
    result = vote(votes.repeat(voters, 1, 1))
    assert torch.equal(result.labels, votes[0])
    assert torch.equal(result.support, voters * (votes[0] != IGNORE).byte())


@law
@given(ballots())
def test_support_is_between_one_and_the_voters_that_spoke(votes):
    support = vote(votes).support
    spoken = (votes != IGNORE).sum(dim=0)
    assert (support <= spoken).all()
    assert torch.equal(support > 0, spoken > 0)


@law
@given(ballots())
def test_stricter_vote_keeps_fewer_clean_pixels(votes):
    support = vote(votes).support
    lax, strict = (is_clean(support, min_support=n) for n in (2, 3))
    assert not (strict & ~lax).any()


@pytest.mark.parametrize(("min_support", "clean"), [(1, True), (2, True), (3, False)])
def test_min_support_decides_what_is_clean(min_support, clean):
    support = vote(one_pixel(CAT, CAT, DOG)).support
    assert is_clean(support, min_support=min_support).item() is clean


def test_a_pixel_without_votes_is_never_clean():
    assert not is_clean(vote(one_pixel(IGNORE, IGNORE)).support, min_support=1).any()


def test_a_batch_of_counts_is_judged_at_once():
    support = torch.tensor([[[1, 2]], [[3, 0]]], dtype=torch.uint8)
    assert is_clean(support, min_support=2).tolist() == [
        [[False, True]],
        [[True, False]],
    ]


def test_as_many_voters_as_a_byte_counts():
    assert vote(one_pixel(*[CAT] * 255)).support.item() == 255


@pytest.mark.parametrize("voters", [0, 256])
def test_number_of_voters_is_bounded(voters):
    with pytest.raises(ValueError, match=f"between 1 and 255 voters, got {voters}"):
        vote(torch.zeros(voters, 1, 1, dtype=torch.uint8))


@pytest.mark.parametrize("min_support", [0, 256])
def test_min_support_out_of_reach_is_refused(min_support):
    with pytest.raises(ValueError, match=f"between 1 and 255, got {min_support}"):
        is_clean(torch.ones(1, 1, dtype=torch.uint8), min_support=min_support)


def test_votes_are_counted_for_whatever_label_remains():
    ballots = torch.tensor([[[1, 1, 0]], [[1, 2, 0]], [[3, 255, 255]]])
    labels = torch.tensor([[1, 3, 255]])
    found = count_votes(ballots.to(torch.uint8), labels.to(torch.uint8))
    # two said 1; nobody said 3; an unknown label has no votes, though one abstained
    assert found.tolist() == [[2, 0, 0]]
    assert found.dtype == torch.uint8


@law
@given(ballots())
def test_votes_of_the_winner_are_its_support(cast):
    labels, support = vote(cast)
    assert torch.equal(count_votes(cast, labels), support)
