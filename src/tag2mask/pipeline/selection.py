"""The artifact that says which voters vote, where a recipe does not let all of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.errors import DatasetError, RecipeError
from tag2mask.pipeline.builder import Builder
from tag2mask.pipeline.electors import voting_weights
from tag2mask.pipeline.voters import VoterArtifacts
from tag2mask.stages import evaluate, select, truth


def ask_selection(
    builder: Builder,
    recipe: config.Recipe,
    index: Artifact,
    table: Callable[[], Index],
    electors: Mapping[str, VoterArtifacts],
    names: Sequence[str],
) -> Artifact | None:
    """Ask for the selection of voters; None if all of them vote.

    Args:
        builder: Makes it.
        recipe: Says how voters are selected.
        index: The images.
        table: Opens the finished index.
        electors: The voters that may vote.
        names: Of the images of the train split.

    Raises:
        DatasetError: If the ground truth is asked and there is none.
    """
    by = recipe.vote.select
    if by == "all":
        return None
    ballots = {name: voter.ballot for name, voter in electors.items()}
    labels = {
        name: LabelFolder(each.folder / "labels") for name, each in ballots.items()
    }
    settings: dict[str, Any] = {"by": by}
    run: Callable[[Path], None]
    if by == "agreement":
        weights = voting_weights(recipe.vote, electors)
        settings |= {} if weights is None else {"weights": weights}

        def run(folder: Path) -> None:
            select.by_agreement(
                table(),
                labels,
                folder,
                weights=None if weights is None else list(weights.values()),
                runtime=builder.runtime,
            )

    else:
        settings["masks"], known = _truth(recipe.data, table, names)

        def run(folder: Path) -> None:
            select.by_truth(known(), labels, folder, runtime=builder.runtime)

    request = Request(
        "select",
        select.VERSION,
        settings,
        {"index": index, **ballots},
        uses_truth=by == "oracle",
    )
    return builder.make(request, run, subject=by, num_images=len(names))


def _truth(
    data: config.Data, table: Callable[[], Index], names: Sequence[str]
) -> tuple[str, Callable[[], evaluate.Truth]]:
    """Return the fingerprint of the masks of the train split, and what opens them."""
    masks = truth.open_masks(data)
    # asked once: a mask that goes while a run lasts must not change what is chosen
    with_mask = {name for name in names if name in masks}
    if not with_mask:
        raise DatasetError(
            f"{masks.folder} holds no mask of the train split; vote.select = "
            f"'oracle' needs some: choose 'agreement' or 'all' without"
        )

    def known() -> evaluate.Truth:
        images = [each for each in table().split("train") if each.name in with_mask]
        return evaluate.Truth(images, masks, table().class_names)

    return masks.fingerprint(names), known


def kept_voters(selection: Artifact | None, voters: Sequence[str]) -> tuple[str, ...]:
    """Return the voters that vote; all of them while the selection is not finished."""
    if selection is None or selection.state != "finished":
        return tuple(voters)
    selection.require_whole()
    return select.read_kept(selection.folder)


def require_support(recipe: config.Recipe, kept: Sequence[str]) -> None:
    """Refuse a threshold that no pixel can reach.

    Raises:
        RecipeError: If fewer voters were kept than have to agree.
    """
    for key, min_support in recipe.min_supports.items():
        if min_support > len(kept):
            raise RecipeError(
                f"{key} ({min_support}) is more than the {len(kept)} voters that "
                f"vote.select = {recipe.vote.select!r} kept ({', '.join(kept)}): set "
                f"{key}={len(kept)} or less"
            )


def describe_selection(recipe: config.Recipe, kept: Sequence[str], total: int) -> str:
    """Return what readers of any score after a selection have to know."""
    oracle = "chosen with GROUND TRUTH, " * (recipe.vote.select == "oracle")
    return (
        f"vote.select = {recipe.vote.select!r}: {oracle}{len(kept)} of {total} voters "
        f"vote: {', '.join(kept)}"
    )
