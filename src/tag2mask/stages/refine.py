"""Stage refine: label maps become better ones, by boundaries or by colours."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, TypeVar, assert_never

import torch
from jaxtyping import UInt8
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.cams import Cams, read_cams, write_cams
from tag2mask.artifacts.edges import read_edges
from tag2mask.artifacts.labels import LabelFolder, write_labels, write_support
from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.images import read_indexed
from tag2mask.engine.map_images import for_each_image
from tag2mask.engine.memory import explain_full_memory
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.random_walk import Walk, refine_cams
from tag2mask.functional.voting import count_support
from tag2mask.stages.seed import LESS_MEMORY, exponent_of, seed_labels
from tag2mask.stages.smoothing import smooth_labels
from tag2mask.stages.vote import Elector

VERSION = 1

Method = TypeVar("Method", bound=config.LabelCrf | config.Irnet)
Label = Callable[[ImageRecord], UInt8[Tensor, "h w"]]


class Evidence(NamedTuple):
    """What labels are refined from.

    Attributes:
        labels: The labels as they are.
        cams: Folders of activation maps, the mean of which walks.
        edges: Folder of boundaries; None where none were learnt.
        electors: Those who voted, none before a vote.
    """

    labels: LabelFolder
    cams: Sequence[Path]
    edges: Path | None = None
    electors: Sequence[Elector] = ()


def run(
    index: Index,
    evidence: Evidence,
    settings: config.LabelCrf | config.Irnet,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Write labels/IMAGE.png for every image of the train split.

    After a vote also support/IMAGE.png: how many voters gave a pixel the label that it
    ends with. A walk leaves its scores in scores/IMAGE.npz, as activation maps are.

    Args:
        index: The images.
        evidence: What is refined, and from what.
        settings: Which method, and its knobs.
        folder: Where the labels go; images that are there are not computed again.
        runtime: How many threads, and where scores walk and the CRF runs.
    """
    labels, support = LabelFolder(folder / "labels"), LabelFolder(folder / "support")
    match settings:
        case config.LabelCrf():
            refined = _smoothing(index, evidence.labels, settings, runtime)
        case config.Irnet():
            refined = _walking(index, evidence, settings, folder / "scores", runtime)
        case _:
            assert_never(settings)

    def refine(image: ImageRecord) -> None:
        with explain_full_memory(LESS_MEMORY):
            found = refined(image)
        if evidence.electors:
            ballots = torch.stack([e.labels[image.name] for e in evidence.electors])
            weights = [elector.weight for elector in evidence.electors]
            votes = count_support(found, ballots, weights=weights)
            write_support(support.folder, image.name, votes)
        write_labels(labels.folder, image.name, found)

    # labels are written last: an image that has them has all else too
    missing = [image for image in index.split("train") if image.name not in labels]
    for_each_image(refine, missing, runtime=runtime, title="refine")


def mean_cams(folders: Sequence[Path], name: str) -> Cams:
    """Return the mean of several voters' activation maps of one image."""
    found = [read_cams(folder, name) for folder in folders]
    return Cams(torch.stack([each.maps for each in found]).mean(0), found[0].class_ids)


def with_seeds(
    settings: Method, backgrounds: Callable[[], Sequence[config.Seeding]]
) -> Method:
    """Return settings with the background of seeds, if they ask for it.

    Of several voters the unweighted mean of the exponents, as the maps that walk are a
    mean; a constant background counts as the exponent that ties at the same score.

    Args:
        settings: Of the refiner.
        backgrounds: Says how each voter's finished seeds were made.
    """
    if not isinstance(settings, config.Irnet) or settings.alpha != "seed":
        return settings
    seeds = backgrounds()
    if len(seeds) == 1 and seeds[0].background is not None:
        update = {"alpha": None, "background": seeds[0].background}
    else:
        update = {"alpha": fmean(exponent_of(each) for each in seeds)}
    return settings.model_copy(update=update)


def seeding(settings: config.Irnet) -> config.Seeding:
    """Return how scores of a walk become labels, as those of activation maps do."""
    if settings.alpha == "seed":
        raise ValueError("the background of the seeds must be known by now")
    return config.Seeding(
        alpha=settings.alpha,
        background=settings.background if settings.alpha is None else None,
        crf=settings.crf,
        crf_shrink=settings.crf_shrink,
    )


def _smoothing(
    index: Index, labels: LabelFolder, settings: config.LabelCrf, runtime: Runtime
) -> Label:
    def label(image: ImageRecord) -> UInt8[Tensor, "h w"]:
        return smooth_labels(
            labels[image.name],
            torch.from_numpy(read_indexed(index, image)),
            preset=settings.preset,
            certainty=settings.certainty,
            shrink=settings.crf_shrink,
            device=runtime.device,
        )

    return label


def _walking(
    index: Index,
    evidence: Evidence,
    settings: config.Irnet,
    scores: Path,
    runtime: Runtime,
) -> Label:
    if evidence.edges is None:
        raise ValueError("a walk needs boundaries, got none")
    edges, device = evidence.edges, runtime.device
    labelling, knobs = seeding(settings), settings.walk
    walk = Walk(knobs.radius, knobs.beta, knobs.steps, knobs.damping)

    def label(image: ImageRecord) -> UInt8[Tensor, "h w"]:
        cams = mean_cams(evidence.cams, image.name)
        walked = refine_cams(
            cams.maps.to(device),
            read_edges(edges, image.name).to(device),
            size=(image.height, image.width),
            walk=walk,
        )
        write_cams(scores, image.name, Cams(walked, cams.class_ids))
        pixels = torch.from_numpy(read_indexed(index, image))
        # as stored, so that labels of another background fit to them
        stored = read_cams(scores, image.name)
        return seed_labels(stored, pixels, labelling, device).cpu()

    return label
