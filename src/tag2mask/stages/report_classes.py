"""Classes of the report: how each one does at each stage, and what it is taken for."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tag2mask.stages.report_tables import Content, Score, number, predicted_score

NUM_PAIRS = 15
"""Pairs of classes in the table of confusions."""
_LEAST_SHARE = 0.1
_NUM_CONFUSED = 3
_SHOWN_THRESHOLD = "fixed"
"""Of an activation map: the others move from run to run, or have seen the masks."""
_MEASURES = {"iou": "IoU", "unanimous": "unanimous"}


class Column(NamedTuple):
    """A measure in percent of every class, by its name; what is missing is None."""

    title: str
    values: Mapping[str, float | None]


class Confusion(NamedTuple):
    """A class that is taken for another.

    Attributes:
        truth: The true class.
        found: The class that it is taken for, or ``unlabelled``.
        share: How many percent of the true class's pixels are.
        of_wrong: How many percent of all wrong pixels these are.
    """

    truth: str
    found: str
    share: float
    of_wrong: float


class Sample(NamedTuple):
    """An image that shows a class, and how the class does in it."""

    image: str
    text: str


class ClassView(NamedTuple):
    """One class as the page shows it.

    Attributes:
        class_id: 0 is the background.
        name: As the user gave it.
        values: In percent, in the order of the columns.
        taken_for: Confusions of its own pixels, the most frequent first.
        found_for: Confusions of others' pixels with it, the most frequent first.
        worst: Where it does worst.
        best: Where it does best.
    """

    class_id: int
    name: str
    values: tuple[float | None, ...]
    taken_for: tuple[Confusion, ...]
    found_for: tuple[Confusion, ...]
    worst: tuple[Sample, ...]
    best: tuple[Sample, ...]


def class_columns(content: Content, names: Sequence[str]) -> list[Column]:
    """Return the IoU of each class at each stage, in the order of the stages.

    Several voters become their mean over those where it is defined. Without masks the
    columns tell how well the predicted classes match the tags.

    Args:
        content: The run's numbers.
        names: By class id.
    """
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in content.scores:
        chosen = score["protocol"].get("threshold_chosen", _SHOWN_THRESHOLD)
        if not score.get("per_class") or chosen != _SHOWN_THRESHOLD:
            continue
        stage, split = score["stage"], score["protocol"]["split"]
        subject = score["subject"] if stage == "predict" else ""
        groups.setdefault((stage, subject, split), []).append(score)
    found = [
        Column(_title(*key, len(scores)), _mean_by_class(scores, names))
        for key, scores in groups.items()
    ]
    return found or _tag_columns(content, names)


def class_views(
    content: Content, names: Sequence[str], columns: Sequence[Column]
) -> list[ClassView]:
    """Return every class with all that is known of it.

    Args:
        content: The run's numbers.
        names: By class id.
        columns: Of ``class_columns``.
    """
    score = told_score(content)
    pairs = _pairs(score, names)
    samples = class_samples(content)
    return [
        ClassView(
            class_id,
            name,
            tuple(column.values.get(name) for column in columns),
            tuple([e.pair for e in pairs if e.row == class_id][:_NUM_CONFUSED]),
            tuple([e.pair for e in pairs if e.column == class_id][:_NUM_CONFUSED]),
            *samples.get(class_id, ((), ())),
        )
        for class_id, name in enumerate(names)
    ]


def class_samples(
    content: Content,
) -> dict[int, tuple[tuple[Sample, ...], tuple[Sample, ...]]]:
    """Return the worst and the best images of each class, by its id.

    Those of the segmenter, else of the vote; without masks those on which the voters
    agree least and most.
    """
    source = told_score(content) or content.proxies.get("vote", {})
    return {
        entry["class_id"]: (_samples(entry["worst"]), _samples(entry["best"]))
        for entry in source.get("samples", ())
    }


def confusions(score: Score | None, names: Sequence[str]) -> list[Confusion]:
    """Return which classes are most often taken for which, the most frequent first.

    Pairs below 0.1 % of the true class's pixels are left out.
    """
    pairs = [each.pair for each in _pairs(score, names)]
    return [each for each in pairs if each.share >= _LEAST_SHARE][:NUM_PAIRS]


def told_score(content: Content) -> Score | None:
    """Return the score that classes are told by: the segmenter's last, else the vote's.

    None without masks.
    """
    voted = [
        score
        for score in content.scores
        if score["stage"] in ("vote", "vote_refine") and "miou" in score
    ]
    return predicted_score(content) or (voted[-1] if voted else None)


class _Cell(NamedTuple):
    """A cell of a confusion matrix beside its diagonal."""

    row: int
    column: int
    pair: Confusion


def _pairs(score: Score | None, names: Sequence[str]) -> list[_Cell]:
    matrix = (score or {}).get("confusion") or []
    columns = [*names, "unlabelled"]
    wrong = sum(map(sum, matrix)) - sum(row[n] for n, row in enumerate(matrix))
    found = [
        _Cell(
            row,
            column,
            Confusion(
                names[row],
                columns[column],
                100 * count / sum(counts),
                100 * count / wrong,
            ),
        )
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    # a stable sort, since equal counts should stay in the order of the classes
    return sorted(found, key=lambda each: -each.pair.of_wrong)


def _title(stage: str, subject: str, split: str, count: int) -> str:
    name = f"segmenter {subject}" if stage == "predict" else stage.replace("_", " ")
    mean = f", mean of {count}" if count > 1 else ""
    return f"{name}{mean} ({split})"


def _mean_by_class(
    scores: Sequence[Score], names: Sequence[str]
) -> dict[str, float | None]:
    means: dict[str, float | None] = {}
    for name in names:
        values = [score["per_class"].get(name) for score in scores]
        known = [value for value in values if value is not None]
        means[name] = sum(known) / len(known) if known else None
    return means


def _tag_columns(content: Content, names: Sequence[str]) -> list[Column]:
    found = []
    for source, record in content.proxies.items():
        by_class = record.get("by_class", {})
        for key in ("tag_recall", "tag_precision") if by_class else ():
            values = {
                name: by_class.get(str(class_id), {}).get(key)
                for class_id, name in enumerate(names)
            }
            found.append(Column(f"{key.replace('_', ' ')} ({source})", values))
    return found


def _samples(entries: Sequence[Mapping[str, Any]]) -> tuple[Sample, ...]:
    return tuple(
        Sample(entry["image"], f"{_MEASURES[key]} {number(entry[key])} %")
        for entry in entries
        for key in _MEASURES
        if key in entry
    )
