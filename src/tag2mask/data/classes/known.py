"""What is known of VOC's and COCO's classes, and a vocabulary of backgrounds."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class KnownClass(NamedTuple):
    """A class of PASCAL VOC or COCO.

    Attributes:
        spellings: What the data sets call it, its words apart.
        name: What an image-text model most likely knows it by.
        synonyms: What else it is called.
        background: Seven words for what surrounds it, likeliest first.
    """

    spellings: tuple[str, ...]
    name: str
    synonyms: tuple[str, ...]
    background: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return all that it is called; some twice."""
        return (*self.spellings, self.name, *self.synonyms)

    def spelled_as(self, tag: str) -> str:
        """Return the spelling that a tag writes in its own way, else the name."""
        alike = (each for each in self.spellings if _joined(each) == _joined(tag))
        return next(alike, self.name)


def find_known(tag: str) -> KnownClass | None:
    """Find a class by its name in VOC or COCO.

    Case, plural s, and what parts the words (a space, ``_``, ``-`` or nothing) do
    not count: ``Dining-Tables`` is ``diningtable``.
    """
    return _by_spelling().get(_joined(tag))


def as_phrase(name: str) -> str:
    """Return a name between blanks and without what does not count, for comparing.

    A phrase within another is one that it mentions as whole words: ``bus stops``
    mentions ``bus``, ``railway`` does not mention ``rail``. Case, plural s, ``_`` and
    ``-`` do not count.
    """
    return f" {' '.join(_singular(name))} "


@cache
def read_vocabulary() -> tuple[str, ...]:
    """Return some 300 words for stuff and scenes, none of which names a known class."""
    return tuple(_read("vocabulary.txt").splitlines())


@cache
def _by_spelling() -> dict[str, KnownClass]:
    found = {}
    for key, entry in tomllib.loads(_read("known.toml")).items():
        known = KnownClass(
            (key, *([entry["also"]] if "also" in entry else [])),
            entry.get("name", key),
            tuple(entry.get("synonyms", ())),
            tuple(entry["background"]),
        )
        found.update({_joined(each): known for each in known.spellings})
    return found


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _joined(name: str) -> str:
    return "".join(_singular(name))


def _singular(name: str) -> list[str]:
    """Split into lower-case words without a last s; made for comparing only."""
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    return [word.removesuffix("s") or word for word in words]
