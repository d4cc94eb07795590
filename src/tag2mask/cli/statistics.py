"""Command ``statistics``: how good seeds and vote of a run are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask.cli.options import console, say

if TYPE_CHECKING:
    from rich.table import Table as Shown

    from tag2mask.pipeline.statistics import Table


def statistics(
    target: Annotated[
        Path, typer.Argument(help="summary.json of a run with masks, or a work folder.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write statistics.md and CSV files here.")
    ] = None,
) -> None:
    """Compare seeds and vote with the truth: IoU, agreement, what is marked clean."""
    from tag2mask.pipeline.statistics import statistics_of, write_statistics

    tables = statistics_of(target)
    for table in tables:
        say(f"\n{table.title}, %")
        console().print(_as_text(table))
    if out is not None:
        write_statistics(tables, out)
        say(str(out))


def _as_text(table: "Table") -> "Shown":
    from rich.table import Table as Shown

    from tag2mask.pipeline.statistics import cells

    shown = Shown(box=None, pad_edge=False)
    for number, heading in enumerate(table.headings):
        shown.add_column(heading, justify="right" if number else "left")
    for row in cells(table):
        shown.add_row(*row)
    return shown
