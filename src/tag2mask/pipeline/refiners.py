"""The artifacts of refiners: better labels, before the vote and after it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.models.irnet import IrNet
from tag2mask.pipeline.builder import Builder, Stage
from tag2mask.pipeline.network_settings import network_settings
from tag2mask.stages import irnet, irnet_labels, refine, vote
from tag2mask.stages.seed import settled

_WALKS = ("walk", "background", "alpha", "crf", "crf_shrink")
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
Trained = tuple[config.Voter, Artifact] | None
"""A voter's table and its training."""


class Voting(NamedTuple):
    """What a refiner of a vote reads of a voter.

    Attributes:
        cam: Its activation maps.
        ballot: The labels that it votes with.
        seed: Its seeds.
        seeding: How they are made.
    """

    cam: Artifact
    ballot: Artifact
    seed: Artifact
    seeding: config.Seeding


class Voted(NamedTuple):
    """What a refiner of a vote reads.

    Attributes:
        labels: The vote.
        voters: Those that may vote, by name.
        electors: Opens those that do vote, once it is known.
    """

    labels: Artifact
    voters: Mapping[str, Voting]
    electors: Callable[[], Mapping[str, vote.Elector]]


class _Material(NamedTuple):
    """What labels are refined from.

    Attributes:
        stages: Names of the two stages.
        subject: Of both.
        labels: The labels as they are.
        cams: Activation maps, by role.
        seeds: Where a background may be found, by role.
        ballots: The labels of all voters after a vote, by role.
        backbone: The table and the training that IRNet reads unless told otherwise.
        open: Opens all of them, but for boundaries.
        backgrounds: Says how the seeds were made.
    """

    stages: tuple[Stage, Stage]
    subject: str
    labels: Artifact
    cams: Mapping[str, Artifact]
    seeds: Mapping[str, Artifact]
    ballots: Mapping[str, Artifact]
    backbone: Trained
    open: Callable[[], refine.Evidence]
    backgrounds: Callable[[], list[config.Seeding]]


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
        subject: str,
        voter: config.Voter,
        trained: Artifact | None,
        cams: Artifact,
        seeds: Artifact,
    ) -> Refined:
        """Ask for what a voter's table makes of its seeds."""
        settings = voter.refine

        def evidence() -> refine.Evidence:
            seeded = LabelFolder(seeds.folder / "labels")
            return refine.Evidence(seeded, [cams.folder / "cams"])

        material = _Material(
            ("irnet", "refine"),
            subject,
            seeds,
            {"cam": cams},
            {"seed": seeds},
            {},
            None if trained is None else (voter, trained),
            evidence,
            lambda: [settled(voter.seed, seeds.folder)],
        )
        if not isinstance(settings, config.VoterIrnet):
            return self._without_network(settings, material)

        def label(folder: Path) -> None:
            table, runtime = self.table(), self.builder.runtime
            if settings.labels.source == "seeds":
                irnet_labels.from_seeds(table, seeds.folder, folder, runtime=runtime)
                return
            maps, knobs = cams.folder / "cams", settings.labels
            irnet_labels.from_cams(table, maps, knobs, folder, runtime=runtime)

        source = ("cam", cams)
        if settings.labels.source == "seeds":
            source = ("seed", seeds)
        learnt = self._irnet(settings, material, source, label)
        return Refined(learnt, self._refine(settings, material, learnt))

    def of_vote(
        self, settings: config.VoteRefiner, voted: Voted, backbone: Trained
    ) -> Refined:
        """Ask for what a recipe makes of its vote.

        Args:
            settings: The table.
            voted: The vote and its voters.
            backbone: The table and the training of the first voter that has one.
        """
        labels, voters = voted.labels.folder, voted.voters

        def evidence() -> refine.Evidence:
            electors = voted.electors()
            maps = [voters[name].cam.folder / "cams" for name in electors]
            ballots = list(electors.values())
            return refine.Evidence(LabelFolder(labels / "labels"), maps, None, ballots)

        def backgrounds() -> list[config.Seeding]:
            found = (voters[name] for name in voted.electors())
            return [settled(each.seeding, each.seed.folder) for each in found]

        material = _Material(
            ("vote_irnet", "vote_refine"),
            "vote",
            voted.labels,
            {f"cam {name}": each.cam for name, each in voters.items()},
            {f"seed {name}": each.seed for name, each in voters.items()},
            {f"ballot {name}": each.ballot for name, each in voters.items()},
            backbone,
            evidence,
            backgrounds,
        )
        if not isinstance(settings, config.VoteIrnet):
            return self._without_network(settings, material)

        def label(folder: Path) -> None:
            irnet_labels.from_vote(
                self.table(),
                labels,
                folder,
                min_support=settings.min_support,
                runtime=self.builder.runtime,
            )

        learnt = self._irnet(settings, material, ("vote", voted.labels), label)
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
        knobs = settings.model_dump(mode="json", exclude={"method", *_WALKS})
        knobs |= {"random_seed": self.random_seed}
        inputs = {"index": self.index, source[0]: source[1]}
        start = _start(settings, material.backbone)
        if settings.network is not None:
            knobs["network"] = network_settings(settings.network)
        elif material.backbone is not None:
            inputs["localize"] = material.backbone[1]

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
        inputs = {"index": self.index, **material.ballots}
        if learnt is None:
            knobs = settings.model_dump(mode="json")
            inputs["labels"] = material.labels
        else:
            knobs = settings.model_dump(mode="json", include={"method", *_WALKS})
            inputs |= {"irnet": learnt, **material.cams}
            inputs |= material.seeds if knobs["alpha"] == "seed" else {}
        edges = learnt.folder / "edges" if learnt else None
        return self.builder.make(
            Request(material.stages[1], refine.VERSION, knobs, inputs),
            lambda folder: refine.run(
                self.table(),
                material.open()._replace(edges=edges),
                refine.with_seeds(settings, material.backgrounds),
                folder,
                runtime=self.builder.runtime,
            ),
            subject=material.subject,
            num_images=self.num_images,
        )


def _start(settings: config.Irnet, backbone: Trained) -> irnet.Start:
    """Say which backbone IRNet reads; a recipe is refused that has none."""
    if settings.network is not None:
        return irnet.Start(settings.network, None)
    if backbone is None or isinstance(backbone[0], config.TextCam):
        raise ValueError("IRNet needs a network of its own where no voter trains one")
    return irnet.Start(backbone[0], backbone[1].folder)


def check_backbones(recipe: config.Recipe) -> None:
    """Build every IRNet of a recipe, so that one that cannot be is told.

    Raises:
        ModelError: If its backbone cannot be had or does not suit it.
    """
    voters = list(recipe.voters.values())
    trained = [each for each in voters if not isinstance(each, config.TextCam)]
    tables: list[tuple[config.VoterRefiner | config.VoteRefiner, config.Voter]] = [
        (each.refine, each) for each in voters
    ]
    tables.append((recipe.vote.refine, (trained or voters)[0]))
    for settings, voter in tables:
        if not isinstance(settings, config.Irnet):
            continue
        network = settings.network
        if network is None and not isinstance(voter, config.TextCam):
            network = voter.model_copy(update={"weights": "none"})
        if network is not None:
            backbone = irnet.open_backbone(irnet.Start(network, None))
            IrNet(backbone, displacement=settings.displacement)
