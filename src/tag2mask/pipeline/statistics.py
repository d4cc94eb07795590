"""The paper's tables of seeds and vote that need no training, from a run's summary.

Multi-seed aggregation, tables 4, 5 and 9 to 11; the others are studies.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask.artifacts.cells import csv_text
from tag2mask.artifacts.files import read_json, whole_file
from tag2mask.artifacts.work import latest_summary
from tag2mask.errors import ArtifactError
from tag2mask.stages.evaluate_vote import MARKS
from tag2mask.stages.report_tables import number

MARKDOWN = "statistics.md"
_DIGITS = 2
_NAMES = {
    "seed": "{}",
    "refine": "{}, refined",
    "vote": "{}",
    "vote_refine": "{}, refined",
}
"""What a table calls the subject of a stage."""
_MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_<`["})
"""Names of classes are anybody's."""
_HEADINGS = dict(
    zip(
        MARKS,
        (
            "(a) right, clean",
            "(b) right, noisy",
            "(c) wrong, noisy",
            "(d) wrong, clean",
        ),
        strict=True,
    )
)


class Table(NamedTuple):
    """Numbers in percent, None where one is undefined, behind a name in each row.

    Attributes:
        name: Of its file.
        title: What it shows, and of what it is the counterpart.
        headings: Of all columns.
        rows: In their order.
    """

    name: str
    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]


def statistics_of(target: Path) -> list[Table]:
    """Return the tables of a run.

    Args:
        target: A summary.json, its folder, or a work folder: then the newest run.

    Raises:
        ArtifactError: If there is no run, or it has no scores of seeds and vote.
    """
    summary = latest_summary(target)
    record = read_json(summary)
    try:
        subjects = {
            _NAMES[each["stage"]].format(each["subject"]): each
            for each in record["scores"]
            if each["stage"] in _NAMES
        }
        seeds = [
            each["subject"] for each in record["scores"] if each["stage"] == "seed"
        ]
        clean = record["clean_pixels"]
    except (TypeError, LookupError):
        raise ArtifactError(f"{summary} is no summary of a run") from None
    if "vote" not in subjects or clean is None:
        raise ArtifactError(
            f"{summary} has no scores of seeds and vote; set data.masks, and run the "
            f"recipe at least until its vote"
        )
    return [
        _by_class(subjects, seeds),
        _quality(subjects),
        _agreement(subjects),
        _marks(clean["by_min_support"]),
    ]


def _by_class(subjects: Mapping[str, Mapping[str, Any]], seeds: Sequence[str]) -> Table:
    """Return IoU by class, and the seed that alone is best in it."""
    classes = list(next(iter(subjects.values()))["per_class"])
    rows: list[list[str | float | None]] = []
    for name in classes:
        values = {key: each["per_class"][name] for key, each in subjects.items()}
        rows.append([name, *values.values(), _sole_best(values, seeds)])
    miou = {key: each["miou"] for key, each in subjects.items()}
    rows.append(["mean", *miou.values(), _sole_best(miou, seeds)])
    return Table(
        "by-class",
        "IoU of seeds and vote by class, and the seed that alone is best (table 4)",
        ("class", *subjects, "best seed"),
        rows,
    )


def _sole_best(values: Mapping[str, float | None], seeds: Sequence[str]) -> str:
    known = {k: v for k in seeds if (v := values[k]) is not None}
    best = [name for name, value in known.items() if value == max(known.values())]
    return best[0] if len(best) == 1 else "-"


def _quality(subjects: Mapping[str, Mapping[str, Any]]) -> Table:
    rows: list[list[str | float | None]] = []
    for name, each in subjects.items():
        low, high = each.get("interval", (None, None))
        rows.append([name, each["miou"], low, high, each["boundary_iou"]])
    return Table(
        "quality",
        "Quality of seeds and vote on train, with a 95 % interval (table 5)",
        ("labels", "mIoU", "from", "to", "boundary IoU"),
        rows,
    )


def _agreement(subjects: Mapping[str, Mapping[str, Any]]) -> Table:
    def against(value: float | None) -> float | None:
        return None if value is None else 100 - value

    return Table(
        "agreement",
        "Share of pixels on which seeds and vote agree with the truth (table 9)",
        ("labels", "agree", "disagree"),
        [
            [name, each["pixel_accuracy"], against(each["pixel_accuracy"])]
            for name, each in subjects.items()
        ],
    )


def _marks(rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "marks",
        "Pixels that the segmenter learns from by threshold t: marked clean or noisy, "
        "right or wrong (tables 10 and 11)",
        ("t", *_HEADINGS.values()),
        [[str(row["min_support"]), *(row[key] for key in MARKS)] for row in rows],
    )


def write_statistics(tables: Sequence[Table], folder: Path) -> None:
    """Write statistics.md, and each table as NAME.csv."""
    text = "\n".join(_as_markdown(table) for table in tables)
    for name, content in {
        MARKDOWN: text,
        **{
            f"{table.name}.csv": csv_text([table.headings, *table.rows])
            for table in tables
        },
    }.items():
        with whole_file(folder / name) as scratch:
            scratch.write_text(content, encoding="utf-8", newline="\n")


def cells(table: Table) -> Iterator[list[str]]:
    """Yield the rows as they are shown."""
    for row in table.rows:
        yield [each if isinstance(each, str) else number(each, _DIGITS) for each in row]


def _as_markdown(table: Table) -> str:
    rule = ["---", *["---:"] * (len(table.headings) - 1)]
    rows = [[each.translate(_MARKDOWN_SIGNS) for each in row] for row in cells(table)]
    lines = [table.headings, rule, *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {table.title}\n\n{text}\n"
