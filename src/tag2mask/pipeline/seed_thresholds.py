"""How the threshold between background and objects of a voter's seeds is found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tag2mask import config
from tag2mask.artifacts.build import Artifact
from tag2mask.artifacts.cams import CamFolder
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import Index
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.functional.thresholds import oracle_threshold
from tag2mask.stages import cam, evaluate, thresholds, truth


@dataclass(frozen=True)
class Threshold:
    """A threshold that is known once its inputs are made.

    Attributes:
        find: Computes it.
        inputs: Artifacts that it reads besides the voter's own maps, by role.
        masks: Fingerprint of the ground truth that it reads, or None.
    """

    find: Callable[[], float]
    inputs: Mapping[str, Artifact] = field(default_factory=dict)
    masks: str | None = None


def without_others(voter: config.Voter) -> config.Voter:
    """Return a voter's table as others see it: its seeds need no other and no mask."""
    if voter.seed.alpha not in ("agreement", "oracle"):
        return voter
    seed = voter.seed.model_copy(update={"alpha": "otsu"})
    return voter.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class ThresholdFinder:
    """Says how the threshold of a voter's seeds is found.

    Attributes:
        table: Opens the finished index.
        data: Where the masks are, which only the oracle reads.
        names: Of the images of the train split.
        runtime: How thresholds are computed.
    """

    table: Callable[[], Index]
    data: config.Data
    names: Sequence[str]
    runtime: Runtime

    def choose(
        self, settings: config.Seeding, cams: Artifact, others: Mapping[str, Artifact]
    ) -> Threshold:
        """Return the threshold that a table asks for.

        Args:
            settings: The table.
            cams: The voter's activation maps.
            others: The seeds of each other voter; empty where no voter asks for them.

        Raises:
            DatasetError: If the masks are asked for and there are none.
        """
        match settings.alpha:
            case "agreement":
                return self._by_agreement(cams, others)
            case "oracle":
                return self._by_truth(cams)
            case _:
                return Threshold(lambda: cam.read_threshold(cams.folder))

    def _by_agreement(
        self, cams: Artifact, others: Mapping[str, Artifact]
    ) -> Threshold:
        def find() -> float:
            found = thresholds.agree_with_others(
                self.table(),
                cams.folder / "cams",
                [LabelFolder(other.folder / "labels") for other in others.values()],
                runtime=self.runtime,
            )
            if found is not None:
                return found
            self.runtime.progress.say(
                "warning: the vote of the other voters names no object to agree with; "
                "the threshold is that of alpha = 'otsu'"
            )
            return cam.read_threshold(cams.folder)

        return Threshold(find, others)

    def _by_truth(self, cams: Artifact) -> Threshold:
        masks = truth.open_masks(self.data)
        # asked once: a mask that goes while a run lasts must not change what is chosen
        with_mask = {name for name in self.names if name in masks}

        def find() -> float:
            index = self.table()
            images = [each for each in index.split("train") if each.name in with_mask]
            known = evaluate.Truth(images, masks, index.class_names)
            curve = thresholds.count_thresholds(
                CamFolder(cams.folder / "cams"),
                images,
                known.read,
                num_classes=index.num_classes,
                runtime=self.runtime,
            )
            if (found := oracle_threshold(curve)) is None:
                raise DatasetError(
                    f"{masks.folder} scores no pixel of the train split, and "
                    f"seed.alpha = 'oracle' needs some: choose 'agreement' or 'otsu'"
                )
            return found

        return Threshold(find, masks=masks.fingerprint(self.names))
