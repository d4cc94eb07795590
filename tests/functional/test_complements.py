import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from tag2mask.functional.complements import draw_complement
from tag2mask.functional.shapes import IGNORE

law = settings(deadline=None, max_examples=30)
label_maps = arrays(
    "uint8", (2, 2, 3), elements=st.sampled_from([0, 1, 2, 3, IGNORE])
).map(torch.from_numpy)
tag_tables = arrays("bool", (2, 3)).map(torch.from_numpy)
modes = ("random", "assigned", "absent", "both")


def draw(labels: Tensor, *, random_seed: int = 0, **knobs) -> Tensor:
    """Complements among background and three objects."""
    generator = torch.Generator().manual_seed(random_seed)
    return draw_complement(labels, num_classes=4, generator=generator, **knobs)


def shares(drawn: Tensor) -> list[float]:
    return (torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()).tolist()


@law
@given(label_maps, st.integers(1, 3), st.integers(0, 9))
def test_random_is_any_class_but_the_label(labels, num_complements, random_seed):
    drawn = draw(
        labels,
        mode="random",
        num_complements=num_complements,
        random_seed=random_seed,
    )
    assert drawn.shape == (2, num_complements, 2, 3)
    label = labels.unsqueeze(1).expand(drawn.shape)
    known = label != IGNORE
    assert ((drawn != label) & (drawn >= 0) & (drawn < 4))[known].all()
    assert (drawn[~known] == IGNORE).all()


def test_random_is_even_background_included():
    # 3 classes other than 2; a standard deviation is 0.0047 at 10,000 draws
    drawn = draw(torch.full((1, 100, 100), 2), mode="random")
    assert shares(drawn) == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3], abs=0.02)


@law
@given(label_maps, st.integers(1, 3))
def test_assigned_is_the_label(labels, num_complements):
    drawn = draw(labels, mode="assigned", num_complements=num_complements)
    assert drawn.shape == (2, num_complements, 2, 3)
    assert (drawn == labels.unsqueeze(1)).all()


@law
@given(label_maps, st.integers(1, 3))
def test_both_is_one_of_each(labels, num_complements):
    knobs = {"num_complements": num_complements}
    expected = [draw(labels, mode=mode, **knobs) for mode in ("random", "assigned")]
    assert torch.equal(draw(labels, mode="both", **knobs), torch.cat(expected, dim=1))


@law
@given(label_maps, tag_tables, st.integers(0, 9))
def test_absent_is_an_object_that_the_tags_rule_out(labels, tags, random_seed):
    drawn = draw(labels, mode="absent", tags=tags, random_seed=random_seed)
    for image, shown in enumerate(tags.tolist()):
        ruled_out = {i + 1 for i, is_shown in enumerate(shown) if not is_shown}
        known = labels[image] != IGNORE
        found = set(drawn[image, 0][known].tolist())
        assert found <= (ruled_out or {IGNORE})
        assert (drawn[image, 0][~known] == IGNORE).all()


def test_absent_is_even_and_may_be_a_label_that_the_tags_rule_out():
    tags = torch.tensor([[True, False, False]])
    drawn = draw(torch.full((1, 100, 100), 3), mode="absent", tags=tags)
    assert shares(drawn) == pytest.approx([0, 0, 0.5, 0.5], abs=0.02)


def test_an_image_that_shows_every_class_has_no_absent_one():
    tags = torch.tensor([[True, True, True], [True, True, False]])
    drawn = draw(torch.zeros(2, 1, 2, dtype=torch.int64), mode="absent", tags=tags)
    assert drawn.flatten(1).tolist() == [[IGNORE, IGNORE], [3, 3]]


def test_every_mode_is_alive():
    labels = torch.ones(1, 5, 5, dtype=torch.int64)
    tags = torch.tensor([[True, False, False]])
    drawn = [draw(labels, mode=mode, tags=tags) for mode in modes]
    for first in range(4):
        for second in range(first):
            assert not torch.equal(drawn[first], drawn[second])


@pytest.mark.parametrize("mode", ["random", "absent", "both"])
def test_draws_are_independent_and_follow_the_generator(mode):
    labels = torch.ones(1, 5, 5, dtype=torch.int64)
    knobs = {"mode": mode, "tags": torch.zeros(1, 3, dtype=torch.bool)}
    drawn = draw(labels, num_complements=2, **knobs)
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
    assert torch.equal(drawn, draw(labels, num_complements=2, **knobs))
    other = draw(labels, num_complements=2, random_seed=1, **knobs)
    assert not torch.equal(drawn, other)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"num_classes": 1, "mode": "random"}, "at least 2 classes .* got 1 and 1"),
        (
            {"num_classes": 4, "mode": "random", "num_complements": 0},
            "and 1 complement, got 4 and 0",
        ),
        ({"num_classes": 4, "mode": "absent"}, "tags of 3 object classes, got none"),
        (
            {
                "num_classes": 4,
                "mode": "absent",
                "tags": torch.ones(1, 4, dtype=torch.bool),
            },
            "tags of 3 object classes, got 4",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(knobs, message):
    with pytest.raises(ValueError, match=message):
        draw_complement(torch.zeros(1, 1, 1, dtype=torch.int64), **knobs)
