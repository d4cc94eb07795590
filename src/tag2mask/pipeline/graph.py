"""The order of the stages, as plain Python."""

from dataclasses import dataclass, field
from pathlib import Path

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.tables import Index
from tag2mask.data.layouts import Listed, Listing
from tag2mask.models.segmenters import load_segmenter
from tag2mask.pipeline.builder import Builder
from tag2mask.pipeline.electors import (
    choose_electors,
    open_electors,
    vote_inputs,
    vote_settings,
    voting_weights,
)
from tag2mask.pipeline.refiners import UNREFINED, Refined, Voted, Voting
from tag2mask.pipeline.segmenters import Jury, Segmented, SegmenterMaker
from tag2mask.pipeline.selection import ask_selection, kept_voters, require_support
from tag2mask.pipeline.voters import VoterArtifacts, VoterMaker
from tag2mask.stages import index, predict, truth, vote


@dataclass
class Artifacts:
    """Everything that a recipe makes, by role."""

    index: Artifact
    voters: dict[str, VoterArtifacts] = field(default_factory=dict)
    electors: dict[str, VoterArtifacts] = field(default_factory=dict)
    """The voters that may vote; ``selection`` says which of them do."""
    selection: Artifact | None = None
    vote: Artifact | None = None
    refined: Refined = UNREFINED
    """What became of the vote."""
    labels: Artifact | None = None
    """What the segmenter learns from first."""
    segmented: Segmented | None = None
    """The segmenter."""
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
        self._maker = VoterMaker(
            builder,
            self.made.index,
            self.index_table,
            recipe.data,
            names=[image.name for image in self.listed("train")],
            random_seed=recipe.random_seed,
        )

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

    @property
    def kept(self) -> tuple[str, ...]:
        """The voters that vote, as far as is known."""
        return kept_voters(self.made.selection, list(self.made.electors))

    def make(self) -> Artifacts:
        """Ask for all artifacts up to the predictions."""
        recipe = self.recipe
        if recipe.segment.labels == "truth":
            self.made.labels = self._truth()
        else:
            for name, settings in recipe.voters.items():
                self._maker.ask_prompts(name, settings)
            firsts = self._maker.first_seeds(recipe.voters)
            for name, settings in recipe.voters.items():
                self.made.voters.update(self._maker.make(name, settings, firsts))
            self.made.vote = self._vote()
            self.made.refined = self._refine_vote(self.made.vote)
            self.made.labels = self.made.refined.labels or self.made.vote
        self.made.segmented = segmented = self._segment(self.made.labels)
        if recipe.segment.second_round is not None and segmented.second is None:
            return self.made  # it ends before the segmenter that is asked for
        plain = recipe.predict.plain
        self.made.predictions["plain"] = self._predict(segmented.last, plain)
        if recipe.predict != plain:
            final = self._predict(segmented.last, recipe.predict)
            self.made.predictions["final"] = final
        return self.made

    def _index(self) -> Artifact:
        data = self.recipe.data
        settings = {
            "fingerprint": index.fingerprint(data, self.listing, runtime=self.runtime),
            "skip_bad": data.skip_bad,
        }
        return self.builder.make(
            Request("index", index.VERSION, settings, {}),
            lambda folder: index.run(data, self.listing, folder, runtime=self.runtime),
            num_images=len(self.listing.images),
        )

    def _vote(self) -> Artifact:
        table = self.recipe.vote
        chosen = choose_electors(self.recipe, self.made.voters)
        self.made.electors = chosen
        names = [image.name for image in self.listed("train")]
        self.made.selection = selection = ask_selection(
            self.builder, self.recipe, self.made.index, self.index_table, chosen, names
        )
        inputs = {"index": self.made.index} | vote_inputs(table, chosen)
        inputs |= {"selection": selection} if selection is not None else {}

        def run(folder: Path) -> None:
            vote.run(
                self.index_table(),
                list(self._open_electors().values()),
                table,
                folder,
                runtime=self.runtime,
            )

        return self.builder.make(
            Request("vote", vote.VERSION, vote_settings(table, chosen), inputs),
            run,
            num_images=len(names),
        )

    def _refine_vote(self, voted: Artifact) -> Refined:
        chosen = self.made.electors
        trained = (
            (voter.settings, voter.localize)
            for voter in self.made.voters.values()
            if voter.localize is not None
        )
        return self._maker.refiners.of_vote(
            self.recipe.vote.refine,
            Voted(
                voted,
                {
                    name: Voting(each.cam, each.ballot, each.seed, each.settings.seed)
                    for name, each in chosen.items()
                },
                self._open_electors,
            ),
            next(trained, None),
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

    def _segment(self, labels: Artifact) -> Segmented:
        table = self.recipe.segment
        if self.made.selection is not None and self.builder.wants("segment"):
            require_support(self.recipe, self.kept)
        init = None
        if (name := getattr(table, "init_from", None)) is not None:
            init = self._maker.first_training(name, self.recipe.voters[name])
        maker = SegmenterMaker(
            self.builder,
            self.made.index,
            self.index_table,
            len(self.listed("train")),
            self.recipe.random_seed,
            init,
        )
        return maker.make(table, labels, self._jury())

    def _jury(self) -> Jury | None:
        chosen, table = self.made.electors, self.recipe.vote
        if not chosen:
            return None
        return Jury(
            {name: voter.ballot for name, voter in chosen.items()},
            voting_weights(table, chosen),
            lambda: list(self._open_electors().values()),
        )

    def _open_electors(self) -> dict[str, vote.Elector]:
        """Return those who vote, once it is known."""
        table = self.recipe.vote
        voting = {name: self.made.electors[name] for name in self.kept}
        return dict(zip(voting, open_electors(table, voting), strict=True))

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
                settings.told() | {"split": split},
                {"index": self.made.index, "segment": trained},
            ),
            run,
            subject="plain" if settings == settings.plain else "final",
            num_images=len(self.listed(split)),
        )
