"""The artifacts of voters: from a table of a recipe to seeds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.tables import Index
from tag2mask.pipeline import readings
from tag2mask.pipeline.builder import Builder
from tag2mask.pipeline.network_settings import network_settings
from tag2mask.pipeline.readings import Reading
from tag2mask.pipeline.refiners import UNREFINED, Refined, RefinerMaker
from tag2mask.pipeline.seed_thresholds import ThresholdFinder, without_others
from tag2mask.stages import cam, localize, localize_text, prompts, seed


@dataclass(frozen=True)
class VoterArtifacts:
    """What one voter made, and the knobs that made it.

    Attributes:
        table: Name of its table.
        settings: Its table.
        scale: Its input scale.
        network: Name of its training, which other voters may share.
        localize: The training; None where nothing is trained.
        cam: Its activation maps.
        seed: Its first labels.
        refined: What became of them.
    """

    table: str
    settings: config.Voter
    scale: float
    network: str
    localize: Artifact | None
    cam: Artifact
    seed: Artifact
    refined: Refined = UNREFINED

    @property
    def ballot(self) -> Artifact:
        """The labels that vote."""
        return self.refined.labels or self.seed


@dataclass(frozen=True)
class VoterMaker:
    """Asks a builder for the artifacts of voters.

    Attributes:
        builder: Makes them.
        index: The images.
        table: Opens the finished index.
        data: Where the images and what belongs to them are.
        names: Of the images of the train split.
        random_seed: Of every training, and of channels that are dropped in reading.
    """

    builder: Builder
    index: Artifact
    table: Callable[[], Index]
    data: config.Data
    names: Sequence[str]
    random_seed: int

    @property
    def num_images(self) -> int:
        """Images of the train split."""
        return len(self.names)

    @property
    def refiners(self) -> RefinerMaker:
        """What asks for refined labels of the same images."""
        return RefinerMaker(
            self.builder, self.index, self.table, self.num_images, self.random_seed
        )

    def ask_prompts(self, name: str, settings: config.Voter) -> None:
        """Ask for a voter's prompts, before hours are spent on the voters before it.

        An image-text model that cannot be had is told then.
        """
        if isinstance(settings, config.TextVoter):
            self._prompts(name, settings)

    def first_seeds(self, voters: Mapping[str, config.Voter]) -> dict[str, Artifact]:
        """Ask for the seeds that voters agree with, where one of them wants to agree.

        They are the voters' own seeds wherever these need no other voter and no mask.
        """
        if all(each.seed.alpha != "agreement" for each in voters.values()):
            return {}
        made: dict[str, VoterArtifacts] = {}
        for name, settings in voters.items():
            alone = without_others(settings)
            seeding = alone.model_copy(update={"refine": config.Unrefined()})
            made |= self.make(name, seeding, {})
        return {subject: voter.seed for subject, voter in made.items()}

    def make(
        self, name: str, settings: config.Voter, first_seeds: Mapping[str, Artifact]
    ) -> Mapping[str, VoterArtifacts]:
        """Ask for the voters of one table: each reading of each of its networks.

        Args:
            name: Of the table.
            settings: The table.
            first_seeds: Those of all voters, for one that agrees with the others.
        """
        made = {}
        trainings = self.trainings(name, settings)
        for reading in readings.list_readings(name, settings, trainings):
            cams = self._cam(reading, settings)
            is_trained = not isinstance(settings, config.TextCam)
            trained = reading.trained if is_trained else None
            seeds = self._seed(cams, settings.seed, reading.subject, first_seeds)
            made[reading.subject] = VoterArtifacts(
                name,
                settings,
                reading.scale,
                reading.network,
                trained,
                cams,
                seeds,
                self.refiners.of_voter(reading.subject, settings, trained, cams, seeds),
            )
        return made

    def trainings(self, name: str, settings: config.Voter) -> Mapping[str, Artifact]:
        """Ask for what the maps of one table are read off: networks or texts."""
        match settings:
            case config.Classifier():
                num_networks = 1 if settings.mode == "mc" else len(settings.dropout)
                return {
                    f"{name}-{dropout:g}": self._classifier(
                        f"{name}-{dropout:g}", settings, dropout
                    )
                    for dropout in settings.dropout[:num_networks]
                }
            case config.CaCl() | config.Clims():
                return {name: self._text_taught(name, settings)}
            case config.TextCam():
                return {name: self._prompts(name, settings)}
            case _:
                assert_never(settings)

    def first_training(self, name: str, settings: config.Voter) -> Artifact:
        """Ask for the first trained network of one table only."""
        if isinstance(settings, config.Classifier):
            first = {"dropout": settings.dropout[:1]}
            settings = settings.model_copy(update=first)
        return next(iter(self.trainings(name, settings).values()))

    def _classifier(
        self, subject: str, voter: config.Classifier, dropout: float
    ) -> Artifact:
        settings = network_settings(voter) | {
            "dropout": dropout,
            "dropout_layer": voter.last_dropout,
            "random_seed": self.random_seed,
        }
        for key in ("mode", "scales", "cam", "seed", "refine"):
            settings.pop(key)
        saliency = None
        if voter.saliency is not None:
            saliency = localize.open_saliency(self.data, voter.saliency, self.names)
            maps = {"maps": saliency.fingerprint(self.names)}
            settings["saliency"] = settings["saliency"] | maps
            settings["saliency"].pop("folder")
        return self.builder.make(
            Request("localize", localize.VERSION, settings, {"index": self.index}),
            lambda folder: localize.run(
                self.table(),
                voter.model_copy(update={"dropout": (dropout,)}),
                folder,
                saliency=saliency,
                random_seed=self.random_seed,
                runtime=self.builder.runtime,
            ),
            subject=subject,
            num_images=voter.steps * voter.batch,
        )

    def _text_taught(self, name: str, voter: config.CaCl | config.Clims) -> Artifact:
        texts = self._prompts(name, voter)
        inputs = {"index": self.index, "prompts": texts}
        warm = None
        if (start := localize_text.warm_classifier(voter)) is not None:
            warm = self._classifier(f"{name}-warm-start", start, start.dropout[0])
            inputs["warm_start"] = warm
        settings = network_settings(voter) | {
            "image_text": prompts.image_text_settings(voter.image_text),
            "random_seed": self.random_seed,
        }
        told_by_inputs = ("prompts", "warm_start", "classifier")
        later = ("scales", "cam", "seed", "refine")
        for key in (*later, "pairs_at_once", *told_by_inputs):
            settings.pop(key)
        return self.builder.make(
            Request("localize", localize_text.VERSION, settings, inputs),
            lambda folder: localize_text.run(
                self.table(),
                voter,
                localize_text.Teaching(
                    prompts.read_vectors(texts.folder), warm.folder if warm else None
                ),
                folder,
                random_seed=self.random_seed,
                runtime=self.builder.runtime,
            ),
            subject=name,
            num_images=voter.steps * voter.batch,
        )

    def _prompts(self, name: str, voter: config.TextVoter) -> Artifact:
        settings = {
            "image_text": prompts.image_text_settings(voter.image_text),
            "prompts": prompts.prompt_settings(voter.prompts),
        }
        return self.builder.make(
            Request("prompts", prompts.VERSION, settings, {"index": self.index}),
            lambda folder: prompts.run(
                self.table().class_names[1:],
                voter.prompts,
                voter.image_text,
                folder,
                runtime=self.builder.runtime,
            ),
            subject=name,
        )

    def _cam(self, reading: Reading, voter: config.Voter) -> Artifact:
        def run(folder: Path) -> None:
            table = self.table()
            cam.run(
                table,
                readings.open_network(
                    reading,
                    voter,
                    num_classes=table.num_classes,
                    random_seed=self.random_seed,
                ),
                voter.cam,
                folder,
                scale=reading.scale,
                runtime=self.builder.runtime,
            )

        settings = readings.cam_settings(reading, voter, random_seed=self.random_seed)
        role = "prompts" if isinstance(voter, config.TextCam) else "localize"
        inputs = {"index": self.index, role: reading.trained}
        return self.builder.make(
            Request("cam", cam.VERSION, settings, inputs),
            run,
            subject=reading.subject,
            num_images=self.num_images,
        )

    def _seed(
        self,
        cams: Artifact,
        settings: config.Seeding,
        subject: str,
        first_seeds: Mapping[str, Artifact],
    ) -> Artifact:
        others = {each: made for each, made in first_seeds.items() if each != subject}
        finder = ThresholdFinder(
            self.table, self.data, self.names, self.builder.runtime
        )
        threshold = finder.choose(settings, cams, others)
        inputs = {"index": self.index, "cam": cams, **threshold.inputs}
        masks = {} if threshold.masks is None else {"masks": threshold.masks}
        return self.builder.make(
            Request(
                "seed",
                seed.VERSION,
                settings.model_dump(mode="json") | masks,
                inputs,
                uses_truth=threshold.masks is not None,
            ),
            lambda folder: seed.run(
                self.table(),
                cams.folder / "cams",
                settings,
                folder,
                threshold=threshold.find(),
                runtime=self.builder.runtime,
            ),
            subject=subject,
            num_images=self.num_images,
        )
