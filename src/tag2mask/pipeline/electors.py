"""Who votes, with which weight: from a recipe's table ``vote`` to its voters."""

from collections.abc import Mapping
from typing import Any

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.data.classes import nearest
from tag2mask.errors import RecipeError
from tag2mask.pipeline.voters import VoterArtifacts
from tag2mask.stages import refine, vote
from tag2mask.stages.seed import settled

Voters = Mapping[str, VoterArtifacts]
_LEAST_TO_COMPARE = 3


def choose_electors(recipe: config.Recipe, voters: Voters) -> dict[str, VoterArtifacts]:
    """Return the voters that may vote, by name; a selection leaves out others.

    Raises:
        RecipeError: If ``vote.voters`` or ``vote.weights`` names no voter, or if fewer
            are left than ``vote.select`` or ``segment.min_support`` asks for.
    """
    table = recipe.vote
    known = [*voters, *dict.fromkeys(each.table for each in voters.values())]
    for key, names in (("voters", table.voters or ()), ("weights", table.weights)):
        for name in names:
            if name not in known:
                raise RecipeError(
                    f"vote.{key}: there is no voter {name!r}{nearest(name, known)}; "
                    f"there are {', '.join(known)}"
                )
    chosen = {
        name: voter
        for name, voter in voters.items()
        if table.voters is None or {name, voter.table} & set(table.voters)
        if weight_of(table, name, voter) > 0
    }
    if not chosen:
        raise RecipeError("vote.weights leaves no voter; give one a weight above 0")
    if table.select == "agreement" and len(chosen) < _LEAST_TO_COMPARE:
        raise RecipeError(
            f"vote.select = 'agreement' needs at least {_LEAST_TO_COMPARE} voters, "
            f"each of which is compared with the vote of the others; vote.voters and "
            f"vote.weights leave {', '.join(chosen)}"
        )
    for key, min_support in recipe.min_supports.items():
        if min_support > len(chosen):
            raise RecipeError(
                f"{key} ({min_support}) is more than there are voters that vote "
                f"({len(chosen)}); see vote.voters and vote.weights"
            )
    return chosen


def weight_of(table: config.Vote, name: str, voter: VoterArtifacts) -> float:
    """Return a voter's weight: its own, else that of its table, else 1."""
    return table.weights.get(name, table.weights.get(voter.table, 1.0))


def vote_settings(table: config.Vote, electors: Voters) -> dict[str, Any]:
    """Return what changes the numbers of a vote beside its inputs."""
    settings = table.model_dump(
        mode="json", exclude={"voters", "weights", "select", "refine"}
    )
    unused = ("tie",) if table.mode == "scores" else ("crf", "crf_shrink")
    for key in unused:
        settings.pop(key)
    return settings | {"weights": voting_weights(table, electors)}


def voting_weights(table: config.Vote, electors: Voters) -> dict[str, float] | None:
    """Return the weight of each voter; None where all are equal: heads are counted."""
    weights = {name: weight_of(table, name, each) for name, each in electors.items()}
    return weights if len(set(weights.values())) > 1 else None


def vote_inputs(table: config.Vote, electors: Voters) -> dict[str, Artifact]:
    """Return what a vote reads of its voters."""
    inputs = {name: each.ballot for name, each in electors.items()}
    if vote.needs_maps(table):
        for name, each in electors.items():
            inputs[f"cam {name}"] = each.cam
            # a settled alpha, where labels that vote are no seeds any more
            inputs |= {} if each.ballot == each.seed else {f"seed {name}": each.seed}
    return inputs


def open_electors(table: config.Vote, electors: Voters) -> list[vote.Elector]:
    """Open the finished artifacts of the voters."""
    opened = []
    for name, each in electors.items():
        maps = None
        if vote.needs_maps(table):
            maps = _open_maps(each)
        labels = LabelFolder(each.ballot.folder / "labels")
        opened.append(vote.Elector(labels, weight_of(table, name, each), maps))
    return opened


def _open_maps(voter: VoterArtifacts) -> vote.Maps:
    """Return the scores that a voter's labels were made of: after a walk, its own."""
    settings, labels = voter.settings.refine, voter.refined.labels
    seeding = settled(voter.settings.seed, voter.seed.folder)
    if isinstance(settings, config.Irnet) and labels is not None:
        known = refine.with_seeds(settings, lambda: [seeding])
        return vote.Maps(labels.folder / "scores", refine.seeding(known))
    return vote.Maps(voter.cam.folder / "cams", seeding)
