"""How each kind of labels is scored: what a reader must know before they compare."""

from collections.abc import Sequence
from typing import Any, assert_never

from tag2mask import config
from tag2mask.pipeline.voters import VoterArtifacts
from tag2mask.stages.segment_network import initialisation

Protocol = dict[str, Any]


def seed_protocol(voter: VoterArtifacts) -> Protocol:
    """Return the protocol of a voter's seeds."""
    inference = voter.settings.cam
    return {
        "split": "train",
        "scales": [round(voter.scale * each, 4) for each in inference.scales],
        "flip": inference.flip,
        "crf": voter.settings.seed.crf,
        "tags_at_test": True,
        "init": initialisation(voter.settings),
    }


def ballot_protocol(voter: VoterArtifacts) -> Protocol:
    """Return the protocol of the labels that a voter votes with."""
    return refined_protocol(seed_protocol(voter), voter.settings.refine)


def refined_protocol(
    protocol: Protocol, settings: config.VoterRefiner | config.VoteRefiner
) -> Protocol:
    """Return the protocol of labels after a refiner, from that of those before it."""
    if isinstance(settings, config.Unrefined):
        return protocol
    methods = [protocol["refine"]] if "refine" in protocol else []
    told: Protocol = {"refine": " ".join([*methods, settings.method])}
    match settings:
        case config.LabelCrf():
            before = [each for each in (protocol["crf"],) if each != "none"]
            told["crf"] = " ".join([*before, settings.preset])
        case config.Irnet():
            # a walk begins with activation maps, which no CRF has seen
            told["crf"] = settings.crf
            if settings.alpha is None:
                told["threshold"] = settings.background
            if settings.network is not None:
                own = initialisation(settings.network)
                told["init"] = f"{protocol['init']}; IRNet on {own}"
        case _:
            assert_never(settings)
    return protocol | told


def vote_protocol(table: config.Vote, voters: Sequence[VoterArtifacts]) -> Protocol:
    """Return the protocol of a vote, before a refiner of it.

    Args:
        table: How they vote.
        voters: Those who do.
    """
    ballots = [ballot_protocol(voter) for voter in voters]
    refined = sorted({each["refine"] for each in ballots if "refine" in each})
    crfs = {table.crf} if table.mode == "scores" else {each["crf"] for each in ballots}
    chosen: Protocol = {"select": table.select} if table.select != "all" else {}
    chosen |= {"refine": " ".join(refined)} if refined else {}
    return chosen | {
        "split": "train",
        "scales": sorted({scale for each in ballots for scale in each["scales"]}),
        "flip": any(each["flip"] for each in ballots),
        "crf": " ".join(sorted(crfs)),
        "tags_at_test": True,
        "init": "; ".join(sorted({each["init"] for each in ballots})),
    }


def relabel_protocol(recipe: config.Recipe, settings: config.SecondRound) -> Protocol:
    """Return the protocol of the labels that a second round learns from."""
    return _segmented(recipe, settings) | {"split": "train", "tags_at_test": True}


def predict_protocol(
    recipe: config.Recipe, settings: config.Predict, split: str
) -> Protocol:
    """Return the protocol of a segmenter's predictions."""
    told = _segmented(recipe, settings) | {"split": split, "tags_at_test": False}
    told |= {"presence": settings.presence} if settings.presence else {}
    return told | ({} if recipe.segment.second_round is None else {"rounds": 2})


def _segmented(recipe: config.Recipe, settings: config.Views) -> Protocol:
    return {
        "scales": list(settings.scales),
        "flip": settings.flip,
        "crf": settings.crf,
        "init": initialisation(recipe.segment),
    }
