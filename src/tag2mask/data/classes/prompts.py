"""What an image-text model is told of each class: its names and its background."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, assert_never

from tag2mask.data.classes.known import as_phrase, find_known
from tag2mask.data.classes.names import BACKGROUND_NAME

NamePreset = Literal["plain", "clims", "clip_es"]

TEMPLATES = (
    "a photo of {}.",
    "an image of {}.",
    "a picture of {}.",
    "a snapshot of {}.",
)
"""The context set (CA-CL, section 3.2)."""
ORIGAMI_TEMPLATE = "a clean origami {}."
"""A fifth, for the ablation."""
_SLOT = "{}"


@dataclass(frozen=True)
class ClassPrompts:
    """A class as it is put into words.

    Attributes:
        tag: Its name in the data.
        names: What it is called in prompts, at least one; further ones are synonyms.
        background: Words for what surrounds it and is no part of it, likeliest
            first. Empty where nobody knows: then there is nothing to suppress.
    """

    tag: str
    names: tuple[str, ...]
    background: tuple[str, ...] = ()


def describe_classes(
    class_names: Sequence[str], *, preset: NamePreset
) -> tuple[ClassPrompts, ...]:
    """Return what is known of the classes of a data set.

    Classes that bear the name of a class of VOC or COCO have its names and up to seven
    background words: those that mention no class of this data set. Any other class
    has its own name, underscores read as spaces, and no background words.

    Args:
        class_names: In the order of their ids; background, if it is first, is none.
        preset: ``plain`` is the data set's name with its words apart; ``clims`` the
            everyday name that an image-text model knows best, one for each class;
            ``clip_es`` that name and its synonyms.

    Returns:
        One for each class but background, in order.
    """
    described = [
        _describe(name, preset)
        for place, name in enumerate(class_names)
        if place > 0 or name != BACKGROUND_NAME
    ]
    taken = _phrases(described)
    return tuple(
        ClassPrompts(each.tag, each.names, _unmentioned(each.background, taken))
        for each in described
    )


def _describe(tag: str, preset: NamePreset) -> ClassPrompts:
    known = find_known(tag)
    if known is None:
        return ClassPrompts(tag, (" ".join(tag.replace("_", " ").split()) or tag,))
    match preset:
        case "plain":
            names: tuple[str, ...] = (known.spelled_as(tag),)
        case "clims":
            names = (known.name,)
        case "clip_es":
            names = (known.name, *known.synonyms)
        case _:
            assert_never(preset)
    return ClassPrompts(tag, names, known.background)


def without_classes(
    words: Iterable[str], classes: Iterable[ClassPrompts]
) -> tuple[str, ...]:
    """Leave out the words that mention a class, or a synonym of one.

    To suppress those would suppress the class itself, or another that is tagged.

    Args:
        words: In any order, which is kept.
        classes: All of the data set.
    """
    return _unmentioned(words, _phrases(classes))


def _unmentioned(words: Iterable[str], taken: frozenset[str]) -> tuple[str, ...]:
    phrases = ((word, as_phrase(word)) for word in words)
    return tuple(
        word for word, phrase in phrases if not any(each in phrase for each in taken)
    )


def _phrases(classes: Iterable[ClassPrompts]) -> frozenset[str]:
    """Return all that the classes are called, as phrases."""
    found: set[str] = set()
    for each in classes:
        known = find_known(each.tag)
        found.update((each.tag, *each.names), known.names if known else ())
    return frozenset(as_phrase(name) for name in found)


def check_template(template: str) -> str:
    """Return a template that has one place for a name.

    Raises:
        ValueError: If it has none or more than one.
    """
    count = template.count(_SLOT)
    if count != 1:
        raise ValueError(
            f"a template has {_SLOT} once, where the name goes, such as "
            f"{TEMPLATES[0]!r}; got {template!r} with {count}"
        )
    return template


def context_prompts(names: Sequence[str], templates: Sequence[str]) -> tuple[str, ...]:
    """Return the prompts T_kj of a class (CA-CL, section 3.2).

    Several names share one prompt, joined by commas as CLIP-ES joins synonyms, so that
    there are as many prompts as templates whatever the names.

    Args:
        names: At least one.
        templates: Such as ``TEMPLATES``.

    Returns:
        One prompt for each template, in order.

    Raises:
        ValueError: If there is no name or no template, or a template is none.
    """
    if not names:
        raise ValueError("a class needs a name to be put into prompts, got none")
    return _fill(templates, ", ".join(names))


def background_prompts(
    words: Sequence[str], templates: Sequence[str], num_words: int
) -> tuple[str, ...]:
    """Return the m * n background prompts of a class (CA-CL, section 3.4).

    Args:
        words: Background words, likeliest first.
        templates: m of them, such as ``TEMPLATES``.
        num_words: How many words count, n; all, if there are fewer.

    Returns:
        All templates of the first word, then of the second, and so on; empty if
        there is no word.

    Raises:
        ValueError: If ``num_words`` is below 1, there is no template, or one is none.
    """
    if num_words < 1:
        raise ValueError(f"num_words must be at least 1, got {num_words}")
    prompts = [_fill(templates, word) for word in words[:num_words]]
    return tuple(prompt for group in prompts for prompt in group)


def _fill(templates: Sequence[str], name: str) -> tuple[str, ...]:
    if not templates:
        raise ValueError(f"expected a template such as {TEMPLATES[0]!r}, got none")
    # not str.format: a name or a template may hold braces of its own
    return tuple(check_template(each).replace(_SLOT, name) for each in templates)
