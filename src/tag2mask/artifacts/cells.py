"""Cells of CSV tables that others open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Return rows as CSV, a line each.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which
    spreadsheets take for "this is text"; so does one that begins with an apostrophe
    and such a sign, lest two texts become one. Numbers stay as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([_as_text(cell) for cell in row] for row in rows)
    return stream.getvalue()


def _as_text(cell: object) -> object:
    is_text = isinstance(cell, str)
    if is_text and str(cell).lstrip("'").startswith(_FORMULA_STARTS):
        return f"'{cell}"
    return cell
