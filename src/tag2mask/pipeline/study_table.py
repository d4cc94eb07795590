"""The table of a study: scores of rows and random seeds in, mean and spread out."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tag2mask.config.study_schema import Row, Study
from tag2mask.data.classes.names import BACKGROUND_NAME


class Result(NamedTuple):
    """What one run of a study came to.

    Attributes:
        row: Which variant.
        random_seed: Of the run.
        score: Its entry in the summary.
        summary: Path of summary.json.
    """

    row: Row
    random_seed: int
    score: Mapping[str, Any]
    summary: Path


class Line(NamedTuple):
    """A row of the table; scores are mIoU in percent.

    Attributes:
        row: Which variant.
        results: One for each random seed; none of a method that is only quoted.
        mean: Over the random seeds; None where a score is undefined.
        spread: Standard deviation over them, n - 1; None for one.
        quoted: Published score.
        false_positives: Share of the true background that is called an object, percent,
            mean over the random seeds; None where a score does not tell.
        is_best: Whether its mean is the highest of its group.
        protocol: How it was scored, but for what differs between random seeds.
    """

    row: Row
    results: tuple[Result, ...]
    mean: float | None
    spread: float | None
    quoted: float | None
    false_positives: float | None
    is_best: bool
    protocol: Mapping[str, Any]


class StudyTable(NamedTuple):
    """Lines, and what they have in common.

    Attributes:
        name: Of the study.
        study: What was studied.
        settings: Overrides of all rows, those of the command line included.
        lines: In the order of the study.
        protocol: That of most lines.
    """

    name: str
    study: Study
    settings: tuple[str, ...]
    lines: tuple[Line, ...]
    protocol: Mapping[str, Any]


def tabulate(
    study: Study,
    results: Sequence[Result],
    *,
    name: str,
    overrides: Sequence[str] = (),
) -> StudyTable:
    """Put the results of a study into a table.

    Args:
        study: What was studied.
        results: At least one; those of a row together.
        name: Of the study.
        overrides: Of the command line.
    """
    by_row = [list(each) for _, each in groupby(results, lambda one: one.row.name)]
    lines = [_line(study, each) for each in by_row]
    best = set(_best_names(lines))
    lines = [line._replace(is_best=line.row.name in best) for line in lines]
    texts = [json.dumps(line.protocol) for line in lines]
    common = lines[texts.index(Counter(texts).most_common(1)[0][0])].protocol
    lines += [
        Line(Row(name=other), (), None, None, score, None, False, common)
        for other, score in study.others.items()
    ]
    return StudyTable(name, study, (*study.set, *overrides), tuple(lines), common)


def _line(study: Study, results: Sequence[Result]) -> Line:
    row = results[0].row
    known = [each.score["miou"] for each in results if each.score["miou"] is not None]
    is_known = len(known) == len(results)
    recall = [each.score.get("recall", {}).get(BACKGROUND_NAME) for each in results]
    missed = [100 - each for each in recall if each is not None]
    return Line(
        row,
        tuple(results),
        round(fmean(known), 4) if is_known else None,
        round(stdev(known), 4) if is_known and len(known) > 1 else None,
        study.quoted.get(row.name),
        round(fmean(missed), 4) if len(missed) == len(results) else None,
        is_best=False,
        protocol=_protocol(results[0].score),
    )


def _best_names(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the row of the highest mean of each group; the first of equal ones."""
    groups: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        if line.mean is not None:
            groups.setdefault(line.row.group, []).append((line.mean, line.row.name))
    for members in groups.values():
        if len(members) > 1:
            yield max(members, key=lambda each: each[0])[1]


def _protocol(score: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a score came to be, but for what changes with the random seed."""
    protocol = dict(score["protocol"])
    protocol.pop("random_seed", None)
    if protocol.get("threshold_chosen", "fixed") != "fixed":
        protocol.pop("threshold", None)
    head = {"score": f"{score['stage']} {score['subject']}"}
    return head | {"images": score["num_images"]} | protocol
