"""The order of the stages, as plain Python."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.files import file_digest
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.data.layouts import Listed, Listing
from tag2mask.errors import ModelError
from tag2mask.models.segmenters import load_segmenter
from tag2mask.pipeline.builder import Builder
from tag2mask.stages import (
    cam,
    index,
    localize,
    predict,
    seed,
    segment,
    truth,
    vote,
)
from tag2mask.stages.training import WEIGHTS

PLAIN = config.Predict()


@dataclass(frozen=True)
class VoterArtifacts:
    """What one voter made, and the knobs that made it."""

    settings: config.Classifier
    dropout: float
    scale: float
    localize: Artifact
    cam: Artifact
    seed: Artifact


@dataclass
class Artifacts:
    """Everything that a recipe makes, by role."""

    index: Artifact
    voters: dict[str, VoterArtifacts] = field(default_factory=dict)
    vote: Artifact | None = None
    labels: Artifact | None = None
    segment: Artifact | None = None
    predictions: dict[str, Artifact] = field(default_factory=dict)


class Graph:
    """Asks a builder for every artifact of a recipe, each before what needs it.

    Raises:
        DatasetError: If the data has problems, all of them in one message.
    """

    def __init__(self, recipe: config.Recipe, builder: Builder) -> None:
        self.recipe = recipe
        self.builder = builder
        self.runtime = builder.runtime
        self.listing: Listing = index.list_images(recipe.data)
        self.made = Artifacts(self._index())

    def listed(self, split: str) -> list[Listed]:
        """Return the images of a split as the layout lists them."""
        return [image for image in self.listing.images if image.split == split]

    @property
    def test_split(self) -> str:
        """The split that is predicted: ``val``, or ``train`` where there is none."""
        return "val" if self.listed("val") else "train"

    def index_table(self) -> Index:
        """Return the finished index."""
        return Index(self.made.index.folder, self.recipe.data.root)

    def make(self) -> Artifacts:
        """Ask for all artifacts up to the predictions."""
        recipe = self.recipe
        if recipe.segment.labels == "truth":
            self.made.labels = self._truth()
        else:
            for name, settings in recipe.voters.items():
                self._voters(name, settings)
            self.made.labels = self.made.vote = self._vote()
        self.made.segment = self._segment(self.made.labels)
        self.made.predictions["plain"] = self._predict(self.made.segment, PLAIN)
        if recipe.predict != PLAIN:
            self.made.predictions["final"] = self._predict(
                self.made.segment, recipe.predict
            )
        return self.made

    def _index(self) -> Artifact:
        data = self.recipe.data
        settings = {
            "fingerprint": index.fingerprint(data, self.listing),
            "skip_bad": data.skip_bad,
        }
        return self.builder.make(
            Request("index", index.VERSION, settings, {}),
            lambda folder: index.run(data, self.listing, folder, runtime=self.runtime),
            num_images=len(self.listing.images),
        )

    def _voters(self, name: str, settings: config.Classifier) -> None:
        """Ask for the grid of dropouts and scales of one table."""
        for dropout in settings.dropout:
            trained = self._localize(name, settings, dropout)
            for scale in settings.scales:
                subject = f"{name}-{dropout:g}-{scale:g}"
                cams = self._cam(trained, settings, scale, subject)
                self.made.voters[subject] = VoterArtifacts(
                    settings,
                    dropout,
                    scale,
                    trained,
                    cams,
                    self._seed(cams, settings.seed, subject),
                )

    def _localize(
        self, name: str, voter: config.Classifier, dropout: float
    ) -> Artifact:
        settings = _training_settings(voter) | {
            "dropout": dropout,
            "random_seed": self.recipe.random_seed,
        }
        for key in ("scales", "cam", "seed"):
            settings.pop(key)
        return self.builder.make(
            Request("localize", localize.VERSION, settings, {"index": self.made.index}),
            lambda folder: localize.run(
                self.index_table(),
                voter,
                folder,
                dropout=dropout,
                random_seed=self.recipe.random_seed,
                runtime=self.runtime,
            ),
            subject=f"{name}-{dropout:g}",
            num_images=voter.steps * voter.batch,
        )

    def _cam(
        self, trained: Artifact, voter: config.Classifier, scale: float, subject: str
    ) -> Artifact:
        def run(folder: Path) -> None:
            table = self.index_table()
            cam.run(
                table,
                localize.load(trained.folder, voter, num_classes=table.num_classes),
                voter.cam,
                folder,
                scale=scale,
                runtime=self.runtime,
            )

        settings = voter.cam.model_dump(mode="json") | {"scale": scale}
        inputs = {"index": self.made.index, "localize": trained}
        return self.builder.make(
            Request("cam", cam.VERSION, settings, inputs),
            run,
            subject=subject,
            num_images=len(self.listed("train")),
        )

    def _seed(self, cams: Artifact, settings: config.Seeding, subject: str) -> Artifact:
        inputs = {"index": self.made.index, "cam": cams}
        return self.builder.make(
            Request("seed", seed.VERSION, settings.model_dump(mode="json"), inputs),
            lambda folder: seed.run(
                self.index_table(),
                cams.folder / "cams",
                settings,
                folder,
                threshold=cam.read_threshold(cams.folder),
                runtime=self.runtime,
            ),
            subject=subject,
            num_images=len(self.listed("train")),
        )

    def _vote(self) -> Artifact:
        seeds = {name: voter.seed for name, voter in self.made.voters.items()}
        settings = self.recipe.vote.model_dump(mode="json")
        folders = [LabelFolder(each.folder / "labels") for each in seeds.values()]
        return self.builder.make(
            Request("vote", vote.VERSION, settings, {"index": self.made.index} | seeds),
            lambda folder: vote.run(
                self.index_table(), folders, folder, runtime=self.runtime
            ),
            num_images=len(self.listed("train")),
        )

    def _truth(self) -> Artifact:
        images = self.listed("train")
        masks = truth.open_masks(self.recipe.data)
        settings = {"masks": masks.fingerprint(image.name for image in images)}
        return self.builder.make(
            Request(
                "truth",
                truth.VERSION,
                settings,
                {"index": self.made.index},
                uses_truth=True,
            ),
            lambda folder: truth.run(
                self.index_table(), masks, folder, runtime=self.runtime
            ),
            num_images=len(images),
        )

    def _segment(self, labels: Artifact) -> Artifact:
        table = self.recipe.segment
        settings = _training_settings(table) | {"random_seed": self.recipe.random_seed}
        settings.pop("labels")  # the inputs say which
        inputs = {"index": self.made.index, "labels": labels}
        if (name := settings.pop("init_from")) is not None:
            voter = self.recipe.voters[name]
            inputs["init"] = start = self._localize(name, voter, voter.dropout[0])
            settings.pop("weights")
            weights = str(start.folder / WEIGHTS)
            table = table.model_copy(update={"weights": weights})
        return self.builder.make(
            Request("segment", segment.VERSION, settings, inputs),
            lambda folder: segment.run(
                self.index_table(),
                labels.folder,
                table,
                folder,
                random_seed=self.recipe.random_seed,
                runtime=self.runtime,
            ),
            subject=table.network,
            num_images=table.steps * table.batch,
        )

    def _predict(self, trained: Artifact, settings: config.Predict) -> Artifact:
        split = self.test_split

        def run(folder: Path) -> None:
            table = self.index_table()
            images = [
                predict.Subject(image.name, table.path(image))
                for image in table.split(split)
            ]
            segmenter = load_segmenter(trained.folder)
            predict.run(
                segmenter.network,
                images,
                settings,
                folder / "labels",
                runtime=self.runtime,
            )

        return self.builder.make(
            Request(
                "predict",
                predict.VERSION,
                settings.model_dump(mode="json") | {"split": split},
                {"index": self.made.index, "segment": trained},
            ),
            run,
            subject="plain" if settings == PLAIN else "final",
            num_images=len(self.listed(split)),
        )


def _training_settings(training: config.Training) -> dict[str, Any]:
    """Return a table's knobs, a local weights file counting by its content."""
    settings = training.model_dump(mode="json")
    if training.weights not in ("hub", "none"):
        path = Path(training.weights)
        if not path.is_file():
            raise ModelError(
                f"there is no weights file {path.absolute()}; `weights` is 'hub', "
                f"'none' or a path relative to the current folder"
            )
        settings["weights"] = file_digest(path)
    return settings
