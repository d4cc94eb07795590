"""Command ``crf``: the dense CRF on a folder of stored maps."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tag2mask.cli.options import Device, Workers, make_runtime, say


def crf(
    scores: Annotated[
        Path,
        typer.Argument(help="Folder of activation maps (npz) or label maps (png)."),
    ],
    images: Annotated[Path, typer.Argument(help="Folder of images of these names.")],
    out: Annotated[Path, typer.Option(help="Folder of the index PNGs.")],
    preset: Annotated[
        Literal["seeds", "irnet", "deeplab"],
        typer.Option(help="Knobs of the dense CRF."),
    ] = "seeds",
    shrink: Annotated[
        Literal["1", "2", "4"], typer.Option(help="See images so many times smaller.")
    ] = "1",
    background: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=0.999,
            help="Background score of activation maps; default: found from the maps.",
        ),
    ] = None,
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Move stored maps to the edges of their images: index PNGs, 0 = background."""
    from tag2mask.stages.crf import CrfChoices, run

    factors: dict[str, Literal[1, 2, 4]] = {"1": 1, "2": 2, "4": 4}
    choices = CrfChoices(preset, factors[shrink], background)
    runtime = make_runtime(device, workers)
    count = run(scores, images, out, choices, runtime=runtime)
    say(f"{count} label maps in {out} (CRF {preset})")
