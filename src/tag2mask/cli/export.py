"""Commands that take masks and models elsewhere: ``tag2mask export ...``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tag2mask.cli.options import Presence, Workers, make_runtime, say
from tag2mask.errors import Tag2MaskError

if TYPE_CHECKING:
    from tag2mask.export.onnx_model import Parity

app = typer.Typer(
    name="export",
    help="Write masks and models in the formats of other tools.",
    no_args_is_help=True,
)
Model = Annotated[
    str,
    typer.Argument(
        help="summary.json of a run, a segment folder, or OWNER/NAME on the hub."
    ),
]


@app.command()
def masks(
    labels: Annotated[
        Path,
        typer.Argument(
            help="Folder of index PNGs, summary.json of a run, or a work folder."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder, empty or not there.")],
    format_: Annotated[
        Literal["index", "voc", "coco", "cvat", "label-studio", "yolo"],
        typer.Option("--format", help="What the other tool reads."),
    ],
    subject: Annotated[
        str,
        typer.Option(
            help="Of a run: vote, vote_refine, relabel, or predictions by name."
        ),
    ] = "vote",
    names: Annotated[
        Path | None, typer.Option(help="File of the images to export, one a line.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photographs; a run knows its.")
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="File of class names; default: those beside the masks."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of label-studio: what precedes an image's file."),
    ] = None,
    workers: Workers = 0,
) -> None:
    """Write label maps for another tool; each is read back and compared."""
    from tag2mask.export.label_maps import Source
    from tag2mask.export.label_studio import LOCAL_FILES
    from tag2mask.export.masks import export_masks

    count, notes = export_masks(
        Source(labels, subject, names, images, classes),
        out,
        format_,
        address=LOCAL_FILES if address is None else address,
        runtime=make_runtime("cpu", workers),
    )
    for note in notes:
        say(f"note: {note}")
    say(f"{count} label maps in {out}, read back equal")


@app.command()
def onnx(
    model: Model,
    out: Annotated[Path, typer.Option(help="File to write, as model.onnx.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to 8 bits; labels may differ.")
    ] = False,
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Images to compare on; may repeat. Default: generated."),
    ] = None,
    presence: Presence = None,
) -> None:
    """Write a segmenter as one file that runs without torch; needs the extra `onnx`.

    The graph is compared with PyTorch, and not written where they differ.
    """
    if out.suffix.lower() != ".onnx":
        raise Tag2MaskError(f"--out: expected a file named .onnx, got {out}")
    from tag2mask.export.onnx_model import export_onnx

    make_runtime("cpu", 0)
    exported = export_onnx(
        model, out, presence=presence, int8=int8, images=images or ()
    )
    _tell("float32", exported.float32)
    if exported.int8 is not None:
        _tell("int8", exported.int8)
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")


@app.command()
def hub(
    model: Model,
    repo: Annotated[
        str | None, typer.Option(help="OWNER/NAME to upload to; log in by `hf`.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write instead, empty or not there.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Create the repository as private.")
    ] = False,
) -> None:
    """Write or upload weights and a model card with the scores and their protocol."""
    from tag2mask.export.hub import push_to_hub, write_hub_folder

    if (repo is None) == (out is None):
        raise Tag2MaskError("give either --repo OWNER/NAME or --out FOLDER")
    if repo is not None:
        say(push_to_hub(model, repo, private=private))
    elif out is not None:
        say(str(write_hub_folder(model, out)))


def _tell(kind: str, parity: "Parity") -> None:
    say(
        f"{kind}: {100 * parity.equal_labels:.2f} % of the labels are PyTorch's; "
        f"logits differ by up to {parity.greatest_difference:.2g} "
        f"({parity.num_images} images)"
    )
