"""Command ``sweep``: every background threshold of stored scores in one pass."""

from pathlib import Path
from typing import Annotated

import typer

from tag2mask.cli.options import Workers, console, make_runtime, say

_EVERY = 10
"""Rows of the table: one in ten thresholds, hence steps of 0.05, and the best."""


def sweep(
    scores: Annotated[Path, typer.Argument(help="Folder of score maps (.npz).")],
    masks: Annotated[Path, typer.Argument(help="Folder of ground-truth masks.")],
    names: Annotated[
        Path | None, typer.Option(help="List of the images to score, one a line.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write all thresholds as JSON.")
    ] = None,
    workers: Workers = 0,
) -> None:
    """Score stored activation or walk scores at every background threshold."""
    from rich.table import Table

    from tag2mask import prediction
    from tag2mask.pipeline.score_table import number

    record = prediction.sweep_folders(
        scores, masks, names, out, runtime=make_runtime("cpu", workers)
    )
    best = record["oracle"]
    table = Table("threshold", "mIoU %", "", box=None, pad_edge=False)
    rows = zip(record["thresholds"], record["miou"], strict=True)
    for place, (threshold, miou) in enumerate(rows):
        is_best = threshold == best["threshold"]
        if place % _EVERY == 0 or is_best:
            mark = "oracle: USES GROUND TRUTH" if is_best else ""
            table.add_row(f"{threshold:g}", number(miou, 2), mark)
    console().print(table)
    say(
        f"best threshold {best['threshold']:g}: mIoU {number(best['miou'], 2)} % over "
        f"{record['num_images']} images, tags known, no CRF; chosen with the ground "
        f"truth"
    )
