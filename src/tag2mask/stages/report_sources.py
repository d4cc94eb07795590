"""The artifacts of a run that the pictures of its report are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tag2mask import config
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.data.masks import MaskFolder


class Refined(NamedTuple):
    """What became of labels; None where nothing was asked for.

    Attributes:
        edges: Folder of ``artifacts.edges`` files.
        folder: Of labels/, and of support/ after a vote.
    """

    edges: Path | None = None
    folder: Path | None = None


UNREFINED = Refined()


class Voter(NamedTuple):
    """What one voter made.

    Attributes:
        name: As in the scores.
        cams: Folder of ``artifacts.cams`` files.
        labels: Its seeds.
        refined: What became of them.
    """

    name: str
    cams: Path
    labels: LabelFolder
    refined: Refined = UNREFINED


_AT_ONE_SCALE = config.Predict()


@dataclass(frozen=True)
class Sources:
    """The artifacts that pictures are made of; None or empty where not made.

    Attributes:
        index: The images, their tags and classes.
        voters: In the order in which they are shown.
        vote: Folder with labels/ and support/.
        min_support: Votes that make a pixel clean.
        segment: Folder of the segmenter.
        predictions: By name, such as ``plain``, of the images of ``test_split``.
        test_split: ``val``, or ``train`` where there is no other.
        masks: Ground truth; shown, never read for anything else.
        refined: What became of the vote.
        relabelled: Folder of what a second round learns from, as of the vote.
        protocol: How the segmenter is asked about images of the train split.
        clean_at: Numbers of votes that are shown beside ``min_support``.
    """

    index: Index
    voters: tuple[Voter, ...]
    vote: Path | None
    min_support: int
    segment: Path | None
    predictions: Mapping[str, LabelFolder]
    test_split: str
    masks: MaskFolder | None
    refined: Refined = UNREFINED
    relabelled: Path | None = None
    protocol: config.Predict = _AT_ONE_SCALE
    clean_at: tuple[int, ...] = ()
