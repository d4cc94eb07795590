"""What a study leaves: its table for people and for programs, and its figure."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image
from rich.table import Table

from tag2mask.artifacts.cells import csv_text
from tag2mask.artifacts.files import whole_file, write_json
from tag2mask.pipeline.study_chart import Spot, spread_chart
from tag2mask.pipeline.study_classes import class_chart
from tag2mask.pipeline.study_table import Line, Result, StudyTable
from tag2mask.stages.report_pictures import small_png
from tag2mask.stages.report_tables import number

VERSION = 1
MARKDOWN, CSV, JSON, FIGURE = "table.md", "table.csv", "table.json", "figure.svg"
CLASSES, CLASSES_CSV, PANELS = "classes.svg", "classes.csv", "panels.png"
_FIGURES = {
    CLASSES: "IoU of every class and row",
    PANELS: "The same images as every row sees them, with its first random seed",
}
_PANELS_BYTES = 1_500_000
_DIGITS = 2
_TEXTS = {"row", "group", "protocol"}
"""Columns that are no numbers."""
_MARKDOWN_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\|*_<`["})


def write_study(table: StudyTable, folder: Path, panels: Image.Image | None) -> None:
    """Write the table, and its figures: of the rows, of their classes, of images.

    Args:
        table: What was found.
        folder: Gets table.md, table.csv, table.json, classes.csv and figure.svg;
            classes.svg and panels.png where there are few rows.
        panels: The images; None for none.
    """
    spots = [
        Spot(line.row.name, [each.score["miou"] for each in line.results], line.is_best)
        for line in table.lines
        if line.results
    ]
    chart = spread_chart(
        spots,
        title=f"{table.study.title}, mIoU in %",
        caption=f"Protocol: {_words(table.protocol)}.",
    )
    classes = {
        line.row.name: _class_means(line) for line in table.lines if line.results
    }
    by_class = class_chart(classes, title=f"{table.study.title}, IoU in % by class")
    if panels is not None:
        with whole_file(folder / PANELS) as scratch:
            scratch.write_bytes(small_png(panels, limit=_PANELS_BYTES))
    shown = {CLASSES: by_class, PANELS: panels}
    figures = [name for name, figure in shown.items() if figure is not None]
    texts = {
        FIGURE: chart,
        CSV: as_csv(table),
        CLASSES_CSV: _as_class_csv(classes),
        MARKDOWN: as_markdown(table, figures),
    }
    texts |= {} if by_class is None else {CLASSES: by_class}
    for name, text in texts.items():
        with whole_file(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    write_json(folder / JSON, as_record(table, folder))


def as_markdown(table: StudyTable, figures: Sequence[str] = ()) -> str:
    """Return the table with its protocol around it, and further figures below."""
    headings, rows = _cells(table)
    lines = [headings, ["---" if each in _TEXTS else "---:" for each in headings]]
    for line, cells in zip(table.lines, rows, strict=True):
        escaped = [cell.translate(_MARKDOWN_SIGNS) for cell in cells]
        if line.is_best:
            place = headings.index("mIoU %")
            escaped[place] = f"**{escaped[place]}**"
        lines.append(escaped)
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    figure = f"![mIoU of every row and random seed]({FIGURE})"
    parts = [f"# {table.study.title}", text, figure, *captions(table)]
    parts += [f"![{_FIGURES[name]}]({name})" for name in figures]
    return "\n\n".join(parts) + "\n"


def captions(table: StudyTable) -> Iterator[str]:
    """Yield what a reader must know of the numbers."""
    study = table.study
    seeds = ", ".join(map(str, study.random_seeds))
    if len(study.random_seeds) > 1:
        told = f"mean and standard deviation (n - 1) over the random seeds {seeds}"
    else:
        told = f"random seed {seeds} alone, so that the spread is not known"
    group = " of its group" if any(line.row.group for line in table.lines) else ""
    yield f"mIoU in %: {told}. Bold: the highest{group}."
    yield f"Protocol: {_words(table.protocol)}."
    if study.quoted_from:
        yield f"Quoted, not measured here: {study.quoted_from}."
    settings = ", ".join(f"`{each}`" for each in table.settings)
    yield f"Recipe: {study.recipe}{' with ' if settings else ''}{settings}."


def as_text_table(table: StudyTable) -> Table:
    """Return the table for a terminal."""
    headings, rows = _cells(table)
    shown = Table(box=None, pad_edge=False)
    for heading in headings:
        shown.add_column(heading, justify="left" if heading in _TEXTS else "right")
    for line, cells in zip(table.lines, rows, strict=True):
        shown.add_row(*cells, style="bold" if line.is_best else None)
    return shown


def as_csv(table: StudyTable) -> str:
    """Return a line for each row, its scores by random seed and its protocol."""
    seeds = table.study.random_seeds
    rows: list[list[object]] = [
        [
            *("row", "group", "mean", "sd", "num_random_seeds", "quoted"),
            "background_called_object",
            *(f"random_seed_{seed}" for seed in seeds),
            "protocol",
        ]
    ]
    for line in table.lines:
        numbers = [line.mean, line.spread, len(line.results), line.quoted]
        numbers.append(line.false_positives)
        scores = [each.score["miou"] for each in line.results] or [None] * len(seeds)
        cells = [line.row.name, line.row.group, *numbers, *scores]
        rows.append([*cells, _words(line.protocol)])
    return csv_text(rows)


def _as_class_csv(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return a line for each class with its IoU in each row, over the random seeds."""
    names = dict.fromkeys(name for means in rows.values() for name in means)
    lines = [[name, *(means.get(name) for means in rows.values())] for name in names]
    return csv_text([["class", *rows], *lines])


def as_record(table: StudyTable, folder: Path) -> dict[str, Any]:
    """Return the table as JSON values; summaries are relative to ``folder``."""
    return {
        "version": VERSION,
        "name": table.name,
        "title": table.study.title,
        "recipe": table.study.recipe,
        "set": list(table.settings),
        "quoted_from": table.study.quoted_from,
        "rows": [
            {
                "name": line.row.name,
                "group": line.row.group,
                "set": list(line.row.set),
                "mean": line.mean,
                "sd": line.spread,
                "quoted": line.quoted,
                "background_called_object": line.false_positives,
                "protocol": dict(line.protocol),
                "runs": [_run_record(each, folder) for each in line.results],
            }
            for line in table.lines
        ],
    }


def _class_means(line: Line) -> dict[str, float | None]:
    """Return the mean of each class over the random seeds, None where undefined."""
    found = [each.score.get("per_class", {}) for each in line.results]
    means: dict[str, float | None] = {}
    for name in found[0]:
        known = [each[name] for each in found if each.get(name) is not None]
        means[name] = fmean(known) if len(known) == len(found) else None
    return means


def _run_record(result: Result, folder: Path) -> dict[str, Any]:
    record = {"random_seed": result.random_seed, "miou": result.score["miou"]}
    if "threshold" in result.score["protocol"]:
        record["threshold"] = result.score["protocol"]["threshold"]
    path = Path(os.path.relpath(result.summary, folder))
    return record | {"summary": path.as_posix()}


def _cells(table: StudyTable) -> tuple[list[str], list[list[str]]]:
    """Return headings and lines; a column that says nothing is left out."""
    columns = {
        "row": [line.row.name for line in table.lines],
        "group": [line.row.group for line in table.lines],
        "mIoU %": [number(line.mean, _DIGITS) for line in table.lines],
        "sd": [number(line.spread, _DIGITS) for line in table.lines],
        "background called object %": [
            "" if line.false_positives is None else f"{line.false_positives:.1f}"
            for line in table.lines
        ],
        "random seeds": [str(len(line.results) or "") for line in table.lines],
        "quoted": [
            "" if line.quoted is None else f"{line.quoted:g}" for line in table.lines
        ],
        "protocol": [_difference(line, table.protocol) for line in table.lines],
    }
    told = {name: cells for name, cells in columns.items() if any(cells)}
    return list(told), [list(cells) for cells in zip(*told.values(), strict=True)]


def _difference(line: Line, common: Mapping[str, Any]) -> str:
    absent = object()
    keys = dict.fromkeys((*line.protocol, *common))
    return _words(
        {
            key: line.protocol.get(key)
            for key in keys
            if line.protocol.get(key, absent) != common.get(key, absent)
        }
    )


def _words(protocol: Mapping[str, Any]) -> str:
    return "; ".join(_phrase(key, value) for key, value in protocol.items())


def _phrase(key: str, value: object) -> str:
    if key == "uses_truth":
        return "USES GROUND TRUTH" if value else "uses no ground truth"
    values = value if isinstance(value, list) else [value]
    return f"{key.replace('_', ' ')} {', '.join(_word(each) for each in values)}"


def _word(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
