"""The artifacts of a segmenter: trained on labels, and perhaps once more on its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.tables import Index
from tag2mask.models.segmenters import load_segmenter
from tag2mask.pipeline.builder import Builder
from tag2mask.pipeline.network_settings import network_settings
from tag2mask.stages import relabel, segment
from tag2mask.stages.training import WEIGHTS
from tag2mask.stages.vote import Elector


class Segmented(NamedTuple):
    """A segmenter and how it came about; None where no second round is to be made.

    Attributes:
        first: After its first round.
        relabelled: What the second round learns from.
        second: After that.
    """

    first: Artifact
    relabelled: Artifact | None = None
    second: Artifact | None = None

    @property
    def last(self) -> Artifact:
        """The segmenter as far as it is to be made."""
        return self.second or self.first


class Jury(NamedTuple):
    """Those who voted, whose agreement says which new labels are clean.

    Attributes:
        ballots: The labels of every voter that may vote, by name.
        weights: Theirs; None where all weigh the same.
        electors: Opens those that do vote, once it is known.
    """

    ballots: Mapping[str, Artifact]
    weights: Mapping[str, float] | None
    electors: Callable[[], list[Elector]]


@dataclass(frozen=True)
class SegmenterMaker:
    """Asks a builder for a segmenter; see ``VoterMaker``.

    Attributes:
        init: The trained voter that it starts from, if it does from one.
    """

    builder: Builder
    index: Artifact
    table: Callable[[], Index]
    num_images: int
    random_seed: int
    init: Artifact | None

    def make(
        self, settings: config.Segmenter, labels: Artifact, jury: Jury | None
    ) -> Segmented:
        """Ask for a segmenter.

        Args:
            settings: The table.
            labels: What it learns from first.
            jury: None where nobody voted; then there is no second round.
        """
        first = self._train(settings, labels, None)
        table = settings.second_round
        if table is None or jury is None or not self.builder.wants("relabel"):
            return Segmented(first)
        relabelled = self._relabel(table, first, jury)
        if not self.builder.wants("retrain"):
            return Segmented(first, relabelled)
        second = self._train(settings, relabelled, first)
        return Segmented(first, relabelled, second)

    def _train(
        self, table: config.Segmenter, labels: Artifact, first: Artifact | None
    ) -> Artifact:
        """Ask for a training, from a voter or weights, or from the first round."""
        settings = network_settings(table) | {"random_seed": self.random_seed}
        for told_by_inputs in ("labels", "second_round"):
            settings.pop(told_by_inputs)
        inputs = {"index": self.index, "labels": labels}
        if settings.pop("init_from", None) is not None and self.init is not None:
            inputs["init"] = self.init
            settings.pop("weights")
            weights = str(self.init.folder / WEIGHTS)
            table = table.model_copy(update={"weights": weights})
        if first is not None:
            inputs["first"] = first
        lesson = segment.Lesson(labels.folder, first.folder if first else None)
        return self.builder.make(
            Request(
                "retrain" if first else "segment", segment.VERSION, settings, inputs
            ),
            lambda folder: segment.run(
                self.table(),
                lesson,
                table,
                folder,
                random_seed=self.random_seed,
                runtime=self.builder.runtime,
            ),
            subject=table.network,
            num_images=table.steps * table.batch,
        )

    def _relabel(
        self, settings: config.SecondRound, first: Artifact, jury: Jury
    ) -> Artifact:
        knobs = settings.model_dump(mode="json") | {"weights": jury.weights}
        ballots = {f"ballot {name}": each for name, each in jury.ballots.items()}

        def run(folder: Path) -> None:
            relabel.run(
                self.table(),
                load_segmenter(first.folder).network,
                jury.electors(),
                settings,
                folder,
                runtime=self.builder.runtime,
            )

        return self.builder.make(
            Request(
                "relabel",
                relabel.VERSION,
                knobs,
                {"index": self.index, "segment": first, **ballots},
            ),
            run,
            num_images=self.num_images,
        )
