"""The artifacts of refiners: better labels, before the vote and after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, assert_never

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.models.irnet import IrNet
from tag2mask.pipeline.builder import Builder, Stage
from tag2mask.pipeline.network_settings import network_settings
from tag2mask.stages import irnet, irnet_labels, refine
from tag2mask.stages.segment import initialisation

_WALKS = ("walk", "background", "crf", "crf_shrink")
"""Knobs of IRNet that its training does not know."""


class Refined(NamedTuple):
    """What became of labels; None where nothing is asked for.

    Attributes:
        irnet: Learnt boundaries.
        labels: Refined labels.
    """

    irnet: Artifact | None
    labels: Artifact | None


UNREFINED = Refined(None, None)


class _Material(NamedTuple):
    """What labels are refined from.

    Attributes:
        stages: Names of the two stages.
        subject: Of both.
        labels: The labels as they are.
        cams: Activation maps of one voter, or of all.
        ballots: The labels of all voters after a vote.
        backbone: A voter's table and network, which IRNet reads unless told otherwise.
    """

    stages: tuple[Stage, Stage]
    subject: str
    labels: Artifact
    cams: Sequence[Artifact]
    ballots: Sequence[Artifact]
    backbone: tuple[config.Voter, Artifact]


@dataclass(frozen=True)
class RefinerMaker:
    """Asks a builder for refined labels of the train split; see ``VoterMaker``."""

    builder: Builder
    index: Artifact
    table: Callable[[], Index]
    num_images: int
    random_seed: int

    def of_voter(
        self,
        voter: config.Voter,
        trained: Artifact,
        cams: Artifact,
        seeds: Artifact,
        subject: str,
    ) -> Refined:
        """Ask for what a voter's table makes of its seeds."""
        settings = voter.refine
        stages: tuple[Stage, Stage] = ("irnet", "refine")
        material = _Material(stages, subject, seeds, [cams], [], (voter, trained))
        if not isinstance(settings, config.VoterIrnet):
            return self._without_network(settings, material)

        def label(folder: Path) -> None:
            irnet_labels.from_cams(
                self.table(),
                cams.folder / "cams",
                settings.labels,
                folder,
                runtime=self.builder.runtime,
            )

        learnt = self._irnet(settings, material, ("cam", cams), label)
        return Refined(learnt, self._refine(settings, material, learnt))

    def of_vote(
        self,
        settings: config.VoteRefiner,
        voted: Artifact,
        cams: Sequence[Artifact],
        ballots: Sequence[Artifact],
        backbone: tuple[config.Voter, Artifact],
    ) -> Refined:
        """Ask for what a recipe makes of its vote.

        Args:
            settings: The table.
            voted: Labels and support.
            cams: Of every voter.
            ballots: The labels that each voter voted with, in the same order.
            backbone: Of the first voter: its table and its trained network.
        """
        stages: tuple[Stage, Stage] = ("vote_irnet", "vote_refine")
        material = _Material(stages, "vote", voted, cams, ballots, backbone)
        if not isinstance(settings, config.VoteIrnet):
            return self._without_network(settings, material)

        def label(folder: Path) -> None:
            irnet_labels.from_vote(
                self.table(),
                voted.folder,
                folder,
                min_support=settings.min_support,
                runtime=self.builder.runtime,
            )

        learnt = self._irnet(settings, material, ("vote", voted), label)
        return Refined(learnt, self._refine(settings, material, learnt))

    def _without_network(
        self, settings: config.Unrefined | config.LabelCrf, material: _Material
    ) -> Refined:
        if isinstance(settings, config.Unrefined):
            return UNREFINED
        return Refined(None, self._refine(settings, material, None))

    def _irnet(
        self,
        settings: config.Irnet,
        material: _Material,
        source: tuple[str, Artifact],
        label: Callable[[Path], None],
    ) -> Artifact:
        """Ask for boundaries, learnt from what ``label`` makes of the source."""
        voter, trained = material.backbone
        start = irnet.Start(settings.network or voter, trained.folder)
        inputs = {"index": self.index, source[0]: source[1], "localize": trained}
        knobs = settings.model_dump(mode="json", exclude={"method", *_WALKS})
        if settings.network is not None:
            start = irnet.Start(settings.network, None)
            knobs["network"] = network_settings(settings.network)
            del inputs["localize"]

        def run(folder: Path) -> None:
            label(folder)
            irnet.run(
                self.table(),
                settings,
                start,
                folder,
                random_seed=self.random_seed,
                runtime=self.builder.runtime,
            )

        knobs |= {"random_seed": self.random_seed}
        return self.builder.make(
            Request(material.stages[0], irnet.VERSION, knobs, inputs),
            run,
            subject=material.subject,
            num_images=settings.steps * settings.batch,
        )

    def _refine(
        self,
        settings: config.LabelCrf | config.Irnet,
        material: _Material,
        learnt: Artifact | None,
    ) -> Artifact:
        if learnt is None:
            knobs, inputs = (
                settings.model_dump(mode="json"),
                {"labels": material.labels},
            )
        else:
            knobs = settings.model_dump(mode="json", include={"method", *_WALKS})
            cams = {f"cam {n}": each for n, each in enumerate(material.cams)}
            inputs = {"irnet": learnt} | cams
        inputs |= {f"ballot {n}": each for n, each in enumerate(material.ballots)}
        evidence = refine.Evidence(
            LabelFolder(material.labels.folder / "labels"),
            [each.folder / "cams" for each in material.cams],
            learnt.folder / "edges" if learnt else None,
            [LabelFolder(each.folder / "labels") for each in material.ballots],
        )
        return self.builder.make(
            Request(
                material.stages[1],
                refine.VERSION,
                knobs,
                {"index": self.index} | inputs,
            ),
            lambda folder: refine.run(
                self.table(), evidence, settings, folder, runtime=self.builder.runtime
            ),
            subject=material.subject,
            num_images=self.num_images,
        )


def check_backbones(recipe: config.Recipe) -> None:
    """Build every IRNet of a recipe, so that one that cannot be is told.

    Raises:
        ModelError: If its backbone cannot be had or does not suit it.
    """
    voters = list(recipe.voters.values())
    pairs = [(voter.refine, voter) for voter in voters]
    for settings, voter in [
        *pairs,
        *((recipe.vote.refine, each) for each in voters[:1]),
    ]:
        if isinstance(settings, config.Irnet):
            untrained = voter.model_copy(update={"weights": "none"})
            start = irnet.Start(settings.network or untrained, None)
            IrNet(irnet.open_backbone(start), displacement=settings.displacement)


def refined_protocol(
    protocol: dict[str, Any], settings: config.VoterRefiner | config.VoteRefiner
) -> dict[str, Any]:
    """Return the protocol of labels after a refiner, from that of those before it."""
    if isinstance(settings, config.Unrefined):
        return protocol
    methods = [protocol["refine"]] if "refine" in protocol else []
    told: dict[str, Any] = {"refine": " ".join([*methods, settings.method])}
    match settings:
        case config.LabelCrf():
            before = [each for each in (protocol["crf"],) if each != "none"]
            told["crf"] = " ".join([*before, settings.preset])
        case config.Irnet():
            # a walk begins with activation maps, which no CRF has seen
            told |= {"crf": settings.crf, "threshold": settings.background}
            if settings.network is not None:
                own = initialisation(settings.network)
                told["init"] = f"{protocol['init']}; IRNet on {own}"
        case _:
            assert_never(settings)
    return protocol | told
