"""Stage vote: the label that most voters give each pixel, and how many gave it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.shapes import BACKGROUND
from tag2mask.functional.voting import (
    ClassScores,
    Vote,
    count_support,
    mix_scores,
    vote,
)
from tag2mask.stages.seed import LESS_MEMORY, class_scores, label_image

VERSION = 1


class Maps(NamedTuple):
    """Activation maps of a voter, and how they become scores.

    Attributes:
        cams: Folder of the maps.
        seeding: Its alpha is a number, if it has one.
    """

    cams: Path
    seeding: config.Seeding


class Elector(NamedTuple):
    """A voter that votes.

    Attributes:
        labels: Its label maps.
        weight: Above 0.
        maps: Needed by ``mode = "scores"`` and ``tie = "probability"`` only.
    """

    labels: LabelFolder
    weight: float = 1.0
    maps: Maps | None = None


def needs_maps(settings: config.Vote) -> bool:
    """Say whether a vote reads activation maps beside labels."""
    return settings.mode == "scores" or settings.tie == "probability"


def run(
    index: Index,
    electors: Sequence[Elector],
    settings: config.Vote,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write labels/IMAGE.png and support/IMAGE.png for every image of the train split.

    The threshold that makes a pixel clean is applied where the labels are used, so
    that changing it needs no new vote.

    Args:
        index: The images.
        electors: Who votes.
        settings: How; its ``voters`` and ``weights`` are told by the electors.
        folder: Where the vote goes; images that are there are not voted on again.
        runtime: How many threads, and where the CRF runs.
    """
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")

    def join(image: ImageRecord) -> None:
        with explain_full_memory(LESS_MEMORY):
            result = _join(index, image, electors, settings, runtime.device)
        write_support(support.folder, image.name, result.support)
        write_labels(labels.folder, image.name, result.labels)

    # labels are written last: an image that has them has its support too
    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(join, missing, runtime=runtime, title="vote")


def _join(
    index: Index,
    image: ImageRecord,
    electors: Sequence[Elector],
    settings: config.Vote,
    device: torch.device,
) -> Vote:
    ballots = torch.stack([each.labels[image.name] for each in electors])
    weights = [each.weight for each in electors]
    if not needs_maps(settings):
        return vote(ballots, weights=weights)
    cams = [_read(each, image) for each in electors]
    class_ids = (BACKGROUND, *image.tags)

    def scores_at(height: int, width: int) -> Float[Tensor, "k h w"]:
        scores = [
            class_scores(found.at(height, width), seeding) for found, seeding in cams
        ]
        return mix_scores(scores, weights=weights)

    match settings.mode:
        case "labels":
            scores = ClassScores(scores_at(image.height, image.width), class_ids)
            return vote(ballots, weights=weights, scores=scores)
        case "scores":
            found = label_image(
                scores_at,
                class_ids,
                torch.from_numpy(read_indexed(index, image)),
                crf=settings.crf,
                crf_shrink=settings.crf_shrink,
                device=device,
            )
            labels = found.cpu()
            return Vote(labels, count_support(labels, ballots, weights=weights))
        case _:
            assert_never(settings.mode)


def _read(elector: Elector, image: ImageRecord) -> tuple[Cams, config.Seeding]:
    if elector.maps is None:
        raise ValueError("expected activation maps of every elector, got none of one")
    return read_cams(elector.maps.cams, image.name), elector.maps.seeding
