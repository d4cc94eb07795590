import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import (
    ClassScores,
    count_support,
    is_clean,
    mix_scores,
    vote,
)

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


# weights

weight = st.sampled_from([0.0, 0.1, 0.25, 1.0, 2.5])


def same(one, other):
    return all(map(torch.equal, one, other))


@pytest.mark.parametrize(
    ("labels", "weights", "winner", "support"),
    [
        # 2 against 1 + 0.5: 2 / 3.5 of three voters are 1.71
        ((CAT, DOG, DOG), (2.0, 1.0, 0.5), CAT, 1),
        # 1.5 of 2, times 3, is 2.25
        ((CAT, DOG, CAT), (1.0, 0.5, 0.5), CAT, 2),
        # who abstains has no share: 1 of 1.5, times 2, is 1.33
        ((CAT, DOG, IGNORE), (1.0, 0.5, 9.0), CAT, 1),
        # unanimous voters are as many as they are, whatever they weigh
        ((CAT, CAT, CAT), (5.0, 0.1, 0.3), CAT, 3),
        # 0.1 + 0.2 and 0.3 tie, which they do not in binary fractions
        ((DOG, DOG, CAT), (0.1, 0.2, 0.3), CAT, 1),
        ((IGNORE, IGNORE, IGNORE), (1.0, 2.0, 3.0), IGNORE, 0),
    ],
)
def test_weighted_votes_by_hand(labels, weights, winner, support):
    result = vote(one_pixel(*labels), weights=weights)
    assert (result.labels.item(), result.support.item()) == (winner, support)


@law
@given(ballots(), st.sampled_from([0.1, 1.0, 7.5]))
def test_equal_weights_count_heads(votes, each):
    assert same(vote(votes, weights=[each] * len(votes)), vote(votes))


@law
@given(ballots(max_voters=3), ballots(max_voters=1), weight.filter(bool))
def test_a_voter_of_weight_0_is_absent(votes, extra, each):
    absent = extra[:, :1, :1].expand(1, *votes.shape[1:])
    weights = [each, *[1.0] * (len(votes) - 1)]
    found = vote(torch.cat([absent, votes]), weights=[0.0, *weights])
    assert same(found, vote(votes, weights=weights))


@law
@given(ballots(), st.data(), st.randoms())
def test_order_of_weighted_voters_does_not_matter(votes, data, random):
    size = len(votes)
    weights = data.draw(st.lists(weight, min_size=size, max_size=size).filter(any))
    order = random.sample(range(size), k=size)
    mixed = vote(votes[order], weights=[weights[place] for place in order])
    assert same(mixed, vote(votes, weights=weights))


@law
@given(ballots(), st.data())
def test_weighted_support_is_what_the_winner_counts(votes, data):
    size = len(votes)
    weights = data.draw(st.lists(weight, min_size=size, max_size=size).filter(any))
    result = vote(votes, weights=weights)
    counted = count_support(result.labels, votes, weights=weights)
    assert torch.equal(counted, result.support)
    assert torch.equal(count_support(vote(votes).labels, votes), vote(votes).support)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0,), "one weight for each of 2 voters, got 1"),
        ((1.0, -1.0), "must not be negative"),
        ((1.0, float("nan")), "must not be negative"),
        ((0.0, 0.0), "a voter whose weight is above 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        vote(one_pixel(CAT, DOG), weights=weights)


# scores


def class_scores(**maps):
    ids = {"background": 0, "cat": CAT, "dog": DOG}
    values = torch.tensor([*maps.values()]).view(-1, 1, 1)
    return ClassScores(values, tuple(ids[name] for name in maps))


@pytest.mark.parametrize(
    ("labels", "scores", "winner"),
    [
        ((CAT, DOG), {"cat": 0.2, "dog": 0.3}, DOG),
        ((CAT, DOG), {"dog": 0.2, "cat": 0.3}, CAT),  # in whatever order
        ((CAT, DOG), {"cat": 0.3, "dog": 0.3}, CAT),  # equal: the lowest id
        ((CAT, DOG), {"cat": 0.0, "background": 0.9}, CAT),  # unknown comes last
        ((CAT, CAT, DOG), {"cat": 0.0, "dog": 0.9}, CAT),  # no tie
        ((CAT, DOG, IGNORE), {"cat": 0.1, "dog": 0.9}, DOG),
        ((IGNORE, IGNORE), {"cat": 0.1, "dog": 0.9}, IGNORE),
    ],
)
def test_scores_decide_ties(labels, scores, winner):
    result = vote(one_pixel(*labels), scores=class_scores(**scores))
    assert result.labels.item() == winner
    assert torch.equal(result.support, vote(one_pixel(*labels)).support)


def test_scores_are_mixed_by_hand():
    # (1, 3) / 4 and (2, 2) / 4: mean (3, 5) / 8; with weights 3 and 1
    # 3 (1, 3) / 4 + (2, 2) / 4 = (5, 11) / 4, over 4
    one, two = (torch.tensor(pair).view(2, 1, 1) for pair in ((1.0, 3.0), (2.0, 2.0)))
    assert mix_scores([one, two]).flatten().tolist() == [0.375, 0.625]
    found = mix_scores([one, two], weights=[3.0, 1.0])
    assert found.flatten().tolist() == [0.3125, 0.6875]
    # loudness is of no account, and weight 0 is absent
    assert torch.equal(mix_scores([8 * one, two]), mix_scores([one, two]))
    assert torch.equal(mix_scores([one, two], weights=[1.0, 0.0]), mix_scores([one]))


def test_a_pixel_without_scores_says_nothing():
    nothing = torch.zeros(2, 1, 1)
    found = mix_scores([nothing, torch.tensor([1.0, 3.0]).view(2, 1, 1)])
    assert found.flatten().tolist() == [0.125, 0.375]
