"""Background words proposed from the user's own images."""

from collections.abc import Sequence

from tag2mask.data.classes.prompts import ClassPrompts, without_classes
from tag2mask.functional.word_ranking import WordContrast


def propose_words(
    contrast: WordContrast,
    words: Sequence[str],
    classes: Sequence[ClassPrompts],
    *,
    num_words: int,
) -> tuple[tuple[str, ...], ...]:
    """Choose the words that fit the images of a class better than the others'.

    Args:
        contrast: Of all images that are to count.
        words: The vocabulary that it was made with, such as ``read_vocabulary()``.
        classes: All of the data, in the order of the tags; words that mention one are
            left out.
        num_words: Most words for each class.

    Returns:
        For each class its words, best first; none for a class without images.

    Raises:
        ValueError: If words or classes are not as many as the contrast has, or
            ``num_words`` is below 1.
    """
    if contrast.shape != (len(classes), len(words)):
        raise ValueError(
            f"the contrast is of {contrast.shape} classes and words, got "
            f"{(len(classes), len(words))}"
        )
    if num_words < 1:
        raise ValueError(f"num_words must be at least 1, got {num_words}")
    allowed = frozenset(without_classes(words, classes))
    ranked = ([words[place] for place in order] for order in contrast.rank())
    return tuple(
        tuple([word for word in each if word in allowed][:num_words]) for each in ranked
    )
