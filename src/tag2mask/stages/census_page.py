"""The census of a data set as one page that opens from disk."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from tag2mask.artifacts.files import whole_file
from tag2mask.stages.census import Census

_WIDTH = 30.0
"""Of the longest bar, in the page's rem."""


def write_census_page(census: Census, path: Path, *, title: str) -> None:
    """Write an HTML page: which classes are seen together, and the images' sizes.

    Args:
        census: Of ``take_census``.
        path: The file.
        title: Shown above.
    """
    loader = PackageLoader("tag2mask.stages", "templates")
    environment = Environment(loader=loader, autoescape=True)
    text = environment.get_template("census.html.j2").render(
        title=title,
        warnings=census.warnings,
        classes=census.classes,
        rows=_rows(census),
        bars=_bars(census),
    )
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _rows(census: Census) -> list[dict[str, Any]]:
    rows = []
    for a, name in enumerate(census.classes):
        count = int(census.together[a, a])
        cells = []
        for b in range(len(census.classes)):
            share = census.together[a, b] / max(count, 1)
            text = str(count) if a == b else f"{100 * share:.0f}"
            cells.append({"text": text, "share": f"{0 if a == b else share:.2f}"})
        rows.append({"name": name, "cells": cells})
    return rows


def _bars(census: Census) -> list[dict[str, Any]]:
    most = max(census.long_sides.values(), default=1)
    return [
        {"name": name, "count": count, "width": f"{_WIDTH * count / most:.2f}"}
        for name, count in census.long_sides.items()
    ]
