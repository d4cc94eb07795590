"""Commands on data sets: ``tag2mask data ...``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tag2mask.cli.options import Overrides, Workers, console, make_runtime, say
from tag2mask.errors import DatasetError, RecipeError, Tag2MaskError

if TYPE_CHECKING:
    from rich.table import Table

    from tag2mask import config
    from tag2mask.stages.census import Census

app = typer.Typer(
    name="data", help="Look at data sets, and convert them.", no_args_is_help=True
)


@app.command()
def check(
    target: Annotated[
        Path, typer.Argument(help="A recipe, or a folder whose layout is guessed.")
    ],
    set_: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page to write, as check.html: classes seen together, sizes."
        ),
    ] = None,
    workers: Workers = 0,
) -> None:
    """Read every image and mask; list every problem, and count what there is.

    A warning names classes that tags cannot teach: fewer than 50 training images, or
    more than 0.9 of the images of either of two classes show both, or a class is on
    more than 0.95 of all.
    """
    from tag2mask.stages.census import take_census
    from tag2mask.stages.census_page import write_census_page

    data = _find_data(target, set_ or [])
    masks = f", masks {data.masks}" if data.masks else ""
    say(f"layout {data.layout} in {data.root}{masks}")
    census = take_census(data, runtime=make_runtime("cpu", workers))
    console().print(_split_table(census))
    console().print(_class_table(census))
    (least_w, most_w), (least_h, most_h) = census.widths, census.heights
    say(f"pixels: {least_w} to {most_w} wide, {least_h} to {most_h} high")
    sides = ", ".join(f"{n}: {count}" for n, count in census.long_sides.items())
    say(f"images by their longer side: {sides or 'none'}")
    if out is not None:
        write_census_page(census, out, title=str(data.root))
        say(f"page: {out}")
    for warning in census.warnings:
        say(f"warning: {warning}")
    for note in census.notes:
        say(f"note: {note}")
    for problem in census.problems:
        say(f"problem: {problem}")
    if census.problems:
        raise Tag2MaskError(f"problems with the data: {len(census.problems)}")
    say("no problem")


@app.command()
def label_studio_masks(
    export: Annotated[Path, typer.Argument(help="Label Studio's export as JSON.")],
    out: Annotated[Path, typer.Option(help="Folder of the index PNGs.")],
    classes: Annotated[
        Path, typer.Option(help="File of class names, a line each, as in the recipe.")
    ],
    workers: Workers = 0,
) -> None:
    """Draw brushes that were corrected in Label Studio as index PNGs.

    The newest annotation of a task counts; the label "ignored" is unlabelled (255).
    """
    from tag2mask.stages.convert import write_label_studio_masks

    runtime = make_runtime("cpu", workers)
    count = write_label_studio_masks(export, classes, out, runtime=runtime)
    say(f"{count} masks in {out}")


@app.command()
def coco_masks(
    instances: Annotated[
        Path, typer.Argument(help="Such as annotations/instances_val2014.json.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the index PNGs.")],
    workers: Workers = 0,
) -> None:
    """Draw the instances of COCO as index PNGs; needs the extra `coco`.

    Of instances that overlap the smaller is on top; crowds are ignored (255).
    """
    from tag2mask.stages.convert import write_coco_masks

    count = write_coco_masks(instances, out, runtime=make_runtime("cpu", workers))
    say(f"{count} masks in {out}")


def _find_data(target: Path, overrides: list[str]) -> "config.Data":
    from tag2mask.config import find_recipe, load_data, load_recipe
    from tag2mask.data.layouts import guess_layout

    if target.is_dir() and any(_sets_layout(each) for each in overrides):
        return load_data({"root": str(target)}, overrides)
    if target.is_dir():
        return load_data(guess_layout(target), overrides)
    try:
        find_recipe(target)
    except RecipeError:
        if target.suffix == ".toml":
            raise
        raise DatasetError(
            f"there is no folder {target.absolute()}, and no recipe of that name"
        ) from None
    return load_recipe(target, overrides).data


def _sets_layout(override: str) -> bool:
    return override.partition("=")[0].strip() == "data.layout"


def _split_table(census: "Census") -> "Table":
    """Return the counts of each split; published ones stand beside those found."""
    from rich.table import Table

    table = Table("", *census.splits, box=None, pad_edge=False)
    rows: dict[str, list[str]] = {}
    for split in census.splits.values():
        published = split.published
        for name, value in {
            "images": _beside(split.images, published and published.images),
            "with tags": _beside(split.tagged, published and published.tagged),
            "without tags": str(split.images - split.tagged),
            "tags per image": f"{split.tags / split.images:.2f}",
            "masks": str(split.masks),
        }.items():
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _beside(found: int, published: int | None) -> str:
    return str(found) if published is None else f"{found} (published: {published})"


def _class_table(census: "Census") -> "Table":
    """Return the images of each class in each split."""
    from rich.table import Table

    table = Table("class", *census.splits, box=None, pad_edge=False)
    splits = list(census.splits.values())
    for name in splits[0].by_class if splits else ():
        table.add_row(name, *(str(split.by_class[name]) for split in splits))
    return table
