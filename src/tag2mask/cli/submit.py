"""Command ``submit``: what the test server of PASCAL VOC takes."""

from pathlib import Path
from typing import Annotated

import typer

from tag2mask.cli.options import Device, Workers, make_runtime, say


def submit(
    model: Annotated[
        Path, typer.Argument(help="summary.json of a run, or a segment folder.")
    ],
    images: Annotated[
        Path,
        typer.Option(
            help="VOC2012/ImageSets/Segmentation/test.txt, or a folder of images."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the submission.")],
    device: Device = "auto",
    workers: Workers = 0,
) -> None:
    """Label the test images of PASCAL VOC and pack them for its test server."""
    from tag2mask import prediction
    from tag2mask.artifacts.labels import LabelFolder
    from tag2mask.data.published import VOC_COUNTS
    from tag2mask.stages import submission

    found, labels = submission.list_images(images), out / "labels"
    submission.check_classes(prediction.load_segmenter(model).class_names)
    runtime = make_runtime(device, workers)
    paths = [image.path for image in found]
    if len(paths) != (expected := VOC_COUNTS["test"].images):
        say(
            f"warning: VOC 2012 has {expected} test images, and its server takes all "
            f"or none; {images} names {len(paths)}"
        )
    count, protocol = prediction.predict_files(model, paths, labels, runtime=runtime)
    archive = submission.run(LabelFolder(labels), found, out, runtime=runtime)
    say(f"{count} label maps, checked and packed ({protocol})")
    say(str(archive))
