"""Stage select: which voters vote, by what they agree on or by the ground truth."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.engine.map_images import map_images
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.metrics import confusion_matrix, scores_of
from tag2mask.functional.selection import find_solely_best
from tag2mask.functional.voting import vote
from tag2mask.stages.evaluate import Truth

VERSION = 1
SELECTION = "selection.json"
_DIGITS = 4


class _Classes(NamedTuple):
    """The classes that voters are compared in."""

    ids: Sequence[int]
    names: Sequence[str]
    total: int


def by_agreement(
    index: Index,
    voters: Mapping[str, LabelFolder],
    folder: Path,
    *,
    weights: Sequence[float] | None = None,
    runtime: Runtime,
) -> None:
    """Keep the voters that agree best with the others in some class; no mask is read.

    Each voter is scored by the IoU of its labels with the vote of all others, in every
    class that is a tag of the train split; background has no say, for a voter that
    calls all background would agree best. Writes selection.json.

    Args:
        index: The images and their tags.
        voters: The label maps of each voter, at least three voters.
        folder: Where the selection goes.
        weights: Of the voters, in the vote of the others too; None: heads are counted.
        runtime: How many threads.

    Raises:
        ValueError: If there are fewer voters: two agree equally with each other.
    """
    if len(voters) < 3:
        raise ValueError(f"agreement needs at least three voters, got {len(voters)}")
    images, num_classes = index.split("train"), index.num_classes

    def count(image: ImageRecord) -> Int64[np.ndarray, "v k k+1"]:
        ballots = torch.stack([labels[image.name] for labels in voters.values()])
        found = []
        for place, ballot in enumerate(ballots):
            rest = [each for each in range(len(ballots)) if each != place]
            theirs = None if weights is None else [weights[each] for each in rest]
            others = vote(ballots[rest], weights=theirs).labels
            found.append(
                confusion_matrix(
                    ballot.numpy(), others.numpy(), num_classes=num_classes
                )
            )
        return np.stack(found)

    tags = sorted({tag for image in images for tag in image.tags})
    classes = _Classes(tags, [index.class_names[tag] for tag in tags], num_classes)
    scores = _score(count, images, len(voters), classes, runtime)
    _write(folder, "agreement", list(voters), classes.names, scores, runtime)


def by_truth(
    truth: Truth, voters: Mapping[str, LabelFolder], folder: Path, *, runtime: Runtime
) -> None:
    """Keep the voters that are best in some class on training masks (multi-seed, 3.3).

    Background counts as a class. Writes selection.json. Whoever asks for this has to
    request an artifact that says ``uses_truth``.

    Args:
        truth: Images of the train split that have a mask.
        voters: The label maps of each voter.
        folder: Where the selection goes.
        runtime: How many threads.
    """
    num_classes = len(truth.class_names)

    def count(image: ImageRecord) -> Int64[np.ndarray, "v k k+1"]:
        mask = truth.read(image)
        ballots = [labels[image.name].numpy() for labels in voters.values()]
        return np.stack(
            [confusion_matrix(each, mask, num_classes=num_classes) for each in ballots]
        )

    classes = _Classes(range(num_classes), truth.class_names, num_classes)
    scores = _score(count, truth.images, len(voters), classes, runtime)
    _write(folder, "oracle", list(voters), classes.names, scores, runtime)


def read_kept(folder: Path) -> tuple[str, ...]:
    """Return the names of the voters that a finished selection kept."""
    return tuple(read_json(folder / SELECTION)["kept"])


def _score(
    count: Callable[[ImageRecord], Int64[np.ndarray, "v k k+1"]],
    images: Sequence[ImageRecord],
    num_voters: int,
    classes: _Classes,
    runtime: Runtime,
) -> Float64[np.ndarray, "v c"]:
    """Return the IoU of each voter and class over all images."""
    shape = num_voters, classes.total, classes.total + 1
    confusion = np.zeros(shape, np.int64)
    for each in map_images(count, images, runtime=runtime, title="select"):
        confusion += each
    iou = np.stack([scores_of(each).iou for each in confusion])
    return iou[:, list(classes.ids)]


def _write(
    folder: Path,
    by: str,
    voters: Sequence[str],
    class_names: Sequence[str],
    scores: Float64[np.ndarray, "v c"],
    runtime: Runtime,
) -> None:
    kept = find_solely_best(scores)
    if not kept:
        runtime.progress.say(
            "warning: no voter is solely best in any class, all of them vote"
        )
        kept = tuple(range(len(voters)))
    rows: dict[str, Any] = {}
    for name, row in zip(voters, scores, strict=True):
        rows[name] = {
            each: None if np.isnan(value) else round(100 * float(value), _DIGITS)
            for each, value in zip(class_names, row, strict=True)
        }
    record = {"by": by, "kept": [voters[place] for place in kept], "iou": rows}
    write_json(folder / SELECTION, record)
