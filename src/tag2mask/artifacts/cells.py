"""Cells of CSV tables that others open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV, a line each.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which
    spreadsheets take for "this is text"; so does one that begins with an apostrophe
    and such a sign, lest two texts become one. A carriage return, which would begin a
    cell's line anew, becomes a blank. Numbers stay as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_as_text(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _as_text(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r", " ")
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA_STARTS) else text
