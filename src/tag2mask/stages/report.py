"""Stage report: one HTML file with scores and pictures, and a picture to show around.

The file holds everything that it shows: it opens from a disk, without a network.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tag2mask import config
from tag2mask.artifacts.files import whole_file
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.palette import voc_palette
from tag2mask.functional.shapes import IGNORE
from tag2mask.stages import report_charts as charts
from tag2mask.stages import report_tables as tables
from tag2mask.stages.report_classes import (
    class_columns,
    class_views,
    confusions,
    told_score,
)
from tag2mask.stages.report_gallery import Gallery, choose_images, show_images
from tag2mask.stages.report_panels import (
    Predictor,
    make_panel,
    open_predictor,
    pick_for_show,
    pick_images,
)
from tag2mask.stages.report_pictures import (
    BRIGHTNESS,
    OPACITY,
    Tile,
    small_png,
    strip,
)
from tag2mask.stages.report_recipe import toml_text
from tag2mask.stages.report_sources import Refined, Sources, Voter
from tag2mask.stages.report_tables import Content

__all__ = [
    "PICTURE",
    "REPORT",
    "VERSION",
    "Content",
    "Refined",
    "Sources",
    "Voter",
    "pick_images",
    "run",
    "save_picture",
]

VERSION = 2
REPORT = "index.html"
PICTURE = "picture.png"

_NUM_SHOWN = 3
_SEEDS_SHOWN = 3
_PICTURE_WIDTH = 1200
_PICTURE_BYTES = 290_000
_TEMPLATES = Path(__file__).parent / "templates"


def run(
    content: Content,
    sources: Sources,
    settings: config.Report,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write index.html and, if there are pictures to show, picture.png.

    Equal inputs give equal files: nothing in them tells when they were made.

    Args:
        content: Numbers and words.
        sources: What the pictures are made of; what is not there is left out.
        settings: How many pictures.
        folder: Where the two files go.
        runtime: Where the segmenter is asked for predictions of the train split.
    """
    chosen = choose_images(content, sources, settings.panels)
    predictor = open_predictor(sources, runtime) if chosen else None
    gallery = show_images(sources, chosen, predictor, runtime=runtime)
    page = _environment().get_template("report.html.j2")
    text = page.render(_values(content, sources, gallery))
    with whole_file(folder / REPORT) as scratch:
        # the definitions at the head of the template leave their line ends behind
        scratch.write_text(text.lstrip(), encoding="utf-8", newline="\n")
    train = [each.image for each in chosen if "train" in each.groups]
    if train:
        shown = pick_for_show(sources, train, _NUM_SHOWN)
        _write_picture(sources, shown, folder / PICTURE, predictor)


def save_picture(
    sources: Sources, names: tuple[str, ...], path: Path, *, runtime: Runtime
) -> None:
    """Write a PNG with a row for each image: every stage, with captions.

    Args:
        sources: What the pictures are made of.
        names: Of images of the index, one at least.
        path: Of the PNG; it stays below 300 kB if it has a few rows.
        runtime: Where the segmenter is asked.

    Raises:
        ValueError: If a name is not in the index, or there is none.
    """
    by_name = {image.name: image for image in sources.index.images}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        raise ValueError(
            f"names: expected images of the index, got {unknown or 'none'}"
        )
    images = [by_name[name] for name in names]
    _write_picture(sources, images, path, open_predictor(sources, runtime))


def _write_picture(
    sources: Sources,
    images: Sequence[ImageRecord],
    path: Path,
    predictor: Predictor | None,
) -> None:
    few = replace(sources, voters=_evenly(sources.voters, _SEEDS_SHOWN))
    rows = []
    for image in images:
        panel = make_panel(few, image, predictor)
        rows.append([Tile(c.kind, panel.photo, c.layer) for c in panel.cells])
    data = small_png(strip(rows, width=_PICTURE_WIDTH), limit=_PICTURE_BYTES)
    with whole_file(path) as scratch:
        scratch.write_bytes(data)


def _values(content: Content, sources: Sources, gallery: Gallery) -> dict[str, Any]:
    """Return what the template names."""
    names = sources.index.class_names
    main, each = tables.score_tables(content)
    curves, supports = tables.curves(content), tables.supports(content)
    times, columns = tables.stage_times(content), class_columns(content, names)
    views = class_views(content, names, columns)
    numbers = {panel.name: n for n, panel in enumerate(gallery.panels)}
    return {
        "content": content,
        "names": names,
        "colours": _colours(len(names)),
        "ignore_colour": _colours(IGNORE + 1)[IGNORE],
        "brightness": BRIGHTNESS,
        "opacity": OPACITY,
        "min_support": sources.min_support,
        "test_split": sources.test_split,
        "headlines": tables.headlines(content, sources.min_support),
        "main_rows": main,
        "voter_rows": each,
        "protocol": [heading for _, heading in tables.PROTOCOL],
        "class_columns": columns,
        "classes": views,
        "told": told_score(content),
        "confusions": confusions(told_score(content), names),
        "curves": curves,
        "num_line_colours": charts.NUM_COLOURS,
        # charts escape every text
        "curve_chart": Markup(charts.threshold_chart(curves)),
        "support_chart": Markup(charts.support_chart(supports)),
        "time_chart": Markup(charts.time_chart(times)),
        "supports": supports,
        "times": times,
        "clean": tables.clean_pixels(content),
        "longest": max((row["seconds"] for row in content.stages), default=0),
        "recipe": toml_text(content.recipe),
        "gallery": gallery,
        "numbers": numbers,
        "thumbed": {each.image for view in views for each in view.worst + view.best},
        "kinds": list(dict.fromkeys(c.kind for p in gallery.panels for c in p.cells)),
        "groups": list(dict.fromkeys(g for p in gallery.panels for g in p.groups)),
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": tables.number,
        "share": _share,
        "script_hash": _script_hash,
    }
    return environment


def _share(value: float | None) -> str:
    """Return a percentage as the width of a bar."""
    text = tables.number(value, 2)
    return f"{min(100.0, max(0.0, float(text))):g}" if value is not None else "0"


def _script_hash(script: str) -> str:
    """Return what a content security policy calls a script that may run."""
    hashed = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(hashed).decode()}"


def _colours(num_colours: int) -> list[str]:
    values = bytes(voc_palette(num_colours)).hex()
    return [f"#{values[6 * n : 6 * n + 6]}" for n in range(num_colours)]


def _evenly(voters: tuple[Voter, ...], count: int) -> tuple[Voter, ...]:
    """Return at most ``count`` voters, the first and the last among them."""
    if len(voters) <= count:
        return voters
    return tuple(voters[n * (len(voters) - 1) // (count - 1)] for n in range(count))
