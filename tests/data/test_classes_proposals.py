import pytest
import torch

from tag2mask.data.classes import describe_classes
from tag2mask.data.classes.proposals import propose_words
from tag2mask.functional.word_ranking import WordContrast

WORDS = ("sky", "rails", "boats", "water", "platform")
CLASSES = describe_classes(["train", "boat", "lamp"], preset="plain")


def contrast():
    """Two images: of a train, of a boat; none of a lamp."""
    found = WordContrast(3, 5)
    similarities = torch.tensor([[0.2, 0.3, 0.1, 0.1, 0.25], [0.2, 0.1, 0.4, 0.3, 0.2]])
    found.add(similarities, torch.tensor([[True, False, False], [False, True, False]]))
    return found


def test_words_that_fit_a_class_better_than_the_others_and_name_none():
    # train: 0, 0.2, -0.3, -0.2, 0.05; boat the negatives; "boats" is a class
    train, boat, lamp = propose_words(contrast(), WORDS, CLASSES, num_words=5)
    assert train == ("rails", "platform", "sky", "water")
    assert boat == ("water", "sky", "platform", "rails")
    assert lamp == ()


def test_number_of_words_is_alive():
    assert propose_words(contrast(), WORDS, CLASSES, num_words=2)[0] == (
        "rails",
        "platform",
    )
    with pytest.raises(ValueError, match="num_words must be at least 1, got 0"):
        propose_words(contrast(), WORDS, CLASSES, num_words=0)


def test_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"is of \(3, 5\) .* words, got \(3, 4\)"):
        propose_words(contrast(), WORDS[:4], CLASSES, num_words=2)
