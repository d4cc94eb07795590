"""Tables of the report: a run's records in, rows of a page out."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tag2mask.stages.report_charts import Curve, Mark, Support

CLEAN = "clean pixels"
TRUTH_BADGE = "uses ground truth"
ORACLE_BADGE = "oracle"
_CHOSEN = {"oracle": "best", "label_free": "label-free"}
"""How a threshold was chosen, in a chart's words."""
PROTOCOL = (
    ("split", "split"),
    ("scales", "scales"),
    ("flip", "flip"),
    ("crf", "CRF"),
    ("refine", "refined"),
    ("presence", "presence"),
    ("rounds", "rounds"),
    ("tags_at_test", "tags at test"),
    ("threshold", "threshold"),
    ("init", "init"),
    ("random_seed", "random seed"),
)
"""Keys of a protocol that a row shows, and the columns' headings."""

_FEW_VOTERS = 2

Score = Mapping[str, Any]


class Content(NamedTuple):
    """Numbers and words of a report, as in summary.json.

    Attributes:
        title: Name of the run.
        recipe: The resolved recipe.
        scores: Every score with its protocol.
        proxies: What was told without masks, by what it was told of.
        notes: What is worth knowing of the data.
        warnings: What looks wrong.
        stages: Name, subject, key, seconds and images per second of each stage.
        environment: Versions.
    """

    title: str
    recipe: Mapping[str, Any]
    scores: Sequence[Score]
    proxies: Mapping[str, Mapping[str, Any]]
    notes: Sequence[str]
    warnings: Sequence[str]
    stages: Sequence[Mapping[str, Any]]
    environment: Mapping[str, str]


class Headline(NamedTuple):
    """One of the main numbers."""

    label: str
    value: str
    remark: str
    badges: tuple[str, ...]


class ScoreRow(NamedTuple):
    """One line of the table of scores; numbers in percent, None where undefined."""

    stage: str
    subject: str
    miou: float | None
    interval: Sequence[float | None]
    boundary_iou: float | None
    pixel_accuracy: float | None
    badges: tuple[str, ...]
    protocol: tuple[str, ...]


def number(value: float | None, digits: int = 1) -> str:
    """Return a number as text; a dash where it is undefined."""
    if value is None or math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:.{digits}f}"


def headlines(content: Content, min_support: int) -> list[Headline]:
    """Return the scores of segmenter and vote; the proxies where there are none."""
    titles = {
        "predict": "Segmenter",
        "vote": "Vote",
        "vote_refine": "Refined vote",
        "relabel": "Relabelled",
    }
    found = [
        Headline(
            f"{titles[score['stage']]}"
            + (f", {score['subject']}" if score["stage"] == "predict" else ""),
            f"{number(score['miou'])} %",
            " ".join(["mIoU,", score["protocol"]["split"], *_interval_text(score)]),
            badges(score),
        )
        for score in _label_scores(content)
        if score["stage"] in titles
    ]
    return found[::-1] or list(_proxy_headlines(content, min_support))


def score_tables(content: Content) -> tuple[list[ScoreRow], list[ScoreRow]]:
    """Return the lines that are always seen, and those of each voter.

    Where there are many voters their scores of one kind become one line, the mean;
    the second table then has a line for each.
    """
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in _label_scores(content):
        chosen = score["protocol"].get("threshold_chosen", "")
        kind = chosen if score["stage"] == "cam" else ""
        groups.setdefault((score["stage"], kind), []).append(score)
    main, each = [], []
    for (stage, _), members in groups.items():
        if stage in ("cam", "seed", "refine") and len(members) > _FEW_VOTERS:
            main.append(_mean_row(members))
            each += [_score_row(score) for score in members]
        else:
            main += [_score_row(score) for score in members]
    return main, each


def badges(score: Score) -> tuple[str, ...]:
    """Return what a reader must know before they compare a score with others."""
    protocol = score["protocol"]
    is_oracle = protocol.get("threshold_chosen") == "oracle"
    found = [TRUTH_BADGE] if protocol["uses_truth"] else []
    return tuple(found + [ORACLE_BADGE] * is_oracle)


def curves(content: Content) -> dict[str, Curve]:
    """Return the threshold curve of each voter with its chosen thresholds."""
    found: dict[str, Curve] = {}
    for score in content.scores:
        if score["stage"] != "cam" or not score.get("miou_by_threshold"):
            continue
        curve = found.setdefault(
            score["subject"], Curve(tuple(score["miou_by_threshold"]), [])
        )
        protocol = score["protocol"]
        if score["miou"] is not None and protocol.get("threshold") is not None:
            name = _CHOSEN.get(protocol["threshold_chosen"], "fixed")
            mark = Mark(name, protocol["threshold"], score["miou"])
            found[score["subject"]] = Curve(curve.scores, [*curve.marks, mark])
    return found


def clean_pixels(content: Content) -> Score | None:
    """Return the score that tells of each t how much is clean and right."""
    found = [score for score in content.scores if score["subject"] == CLEAN]
    return found[-1] if found else None


def supports(content: Content) -> list[Support]:
    """Return how many pixels have exactly n votes, and how many of those are right.

    Without masks only the first is known: of all pixels, from the voters' proxies.
    """
    clean = clean_pixels(content)
    if clean is not None:
        rows = clean.get("by_support", ())
        return [Support(row["support"], row["share"], row["purity"]) for row in rows]
    at_least = list(content.proxies.get("vote", {}).get("coverage", {}).values())
    return [
        Support(votes, share - more, None)
        for votes, (share, more) in enumerate(pairwise([*at_least, 0.0]), 1)
    ]


def stage_times(content: Content) -> list[tuple[str, float]]:
    """Return the seconds of each stage, all its subjects together, in their order."""
    seconds: dict[str, float] = {}
    for row in content.stages:
        seconds[row["stage"]] = seconds.get(row["stage"], 0.0) + row["seconds"]
    return [(stage, total) for stage, total in seconds.items() if total]


def predicted_score(content: Content) -> Score | None:
    """Return the segmenter's last score."""
    found = [score for score in _label_scores(content) if score["stage"] == "predict"]
    return found[-1] if found else None


def worst_images(content: Content) -> dict[str, str]:
    """Return the names of the worst images, each with what makes it one.

    Those of the segmenter come first, then those of the vote; without masks those
    on which the voters agree least.
    """
    found: dict[str, str] = {}
    for score in reversed(_label_scores(content)):
        if score["stage"] in ("predict", "vote"):
            for entry in score.get("worst_images", ()):
                text = f"{score['stage']}: mIoU {number(entry['miou'])} %"
                found.setdefault(entry["image"], text)
    if found:
        return found
    for entry in content.proxies.get("vote", {}).get("least_agreement", ()):
        share = number(entry["unanimous"])
        found[entry["image"]] = f"{share} % of the pixels are unanimous"
    return found


def _label_scores(content: Content) -> list[Score]:
    return [score for score in content.scores if "miou" in score]


def _score_row(score: Score) -> ScoreRow:
    return ScoreRow(
        score["stage"],
        score["subject"],
        score["miou"],
        score.get("interval") or (),
        score.get("boundary_iou"),
        score.get("pixel_accuracy"),
        badges(score),
        _protocol(score["protocol"]),
    )


def _mean_row(scores: Sequence[Score]) -> ScoreRow:
    """Return the mean of several voters; their protocols where they agree."""
    rows = [_score_row(score) for score in scores]
    known = [row.miou for row in rows if row.miou is not None]
    spread = f", {number(min(known))} to {number(max(known))}" if known else ""
    columns = zip(*(row.protocol for row in rows), strict=True)
    return ScoreRow(
        rows[0].stage,
        f"mean of {len(rows)} voters{spread}",
        _mean([row.miou for row in rows]),
        (),
        _mean([row.boundary_iou for row in rows]),
        _mean([row.pixel_accuracy for row in rows]),
        tuple(sorted({badge for row in rows for badge in row.badges}, reverse=True)),
        tuple(column[0] if len(set(column)) == 1 else "various" for column in columns),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _protocol(protocol: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_word(protocol.get(key)) for key, _ in PROTOCOL)


def _word(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_word(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _interval_text(score: Score) -> list[str]:
    if not score.get("interval"):
        return []
    low, high = score["interval"]
    return [f"(95 %: {number(low)} to {number(high)})"]


def _proxy_headlines(content: Content, min_support: int) -> Iterator[Headline]:
    vote = content.proxies.get("vote", {})
    if vote.get("agreement"):
        mean = _mean(list(vote["agreement"].values()))
        remark = "mIoU with their vote, mean; no truth"
        yield Headline("Voters agree", f"{number(mean)} %", remark, ())
    share = vote.get("coverage", {}).get(str(min_support))
    if share is not None:
        remark = f"of the pixels have {min_support} or more equal votes"
        yield Headline("Clean", f"{number(share)} %", remark, ())
    for name, found in content.proxies.items():
        if "tag_recall" in found:
            remark = f"of the tags are found by {name}"
            yield Headline("Tag recall", f"{number(found['tag_recall'])} %", remark, ())
