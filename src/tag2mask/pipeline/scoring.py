"""Ask for the scores of everything that was made, each with its protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.artifacts.tables import ImageRecord
from tag2mask.pipeline.graph import PLAIN, Graph, VoterArtifacts
from tag2mask.stages import evaluate, proxies, truth
from tag2mask.stages.segment import initialisation

Protocol = dict[str, Any]


class Scored(NamedTuple):
    """The scores of one artifact.

    Attributes:
        stage: The stage that made what is scored.
        subject: Which one of that stage.
        artifact: Where the scores are.
        protocol: How it was scored; the scores' own part is added when they are read.
    """

    stage: str
    subject: str
    artifact: Artifact
    protocol: Protocol


class Scoring:
    """Scores a graph's artifacts: against masks, where there are any, and without."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._recipe = graph.recipe
        self._settings = graph.recipe.evaluate
        has_masks = graph.recipe.data.masks is not None
        self.masks = truth.open_masks(graph.recipe.data) if has_masks else None
        self.scored: list[Scored] = []
        self.proxies: dict[str, Artifact] = {}

    def make(self) -> None:
        """Ask for every score and proxy."""
        made = self._graph.made
        for name, voter in made.voters.items():
            self._cam(name, voter)
            self._labels("seed", name, voter.seed, "train", self._seed_protocol(voter))
        if made.vote is not None:
            self._labels("vote", "vote", made.vote, "train", self._vote_protocol())
            self._clean(made.vote)
            self._agreement(made.vote)
        for name, prediction in made.predictions.items():
            split = self._graph.test_split
            protocol = self._predict_protocol(PLAIN if name == "plain" else None)
            self._labels("predict", name, prediction, split, protocol)
            self._tag_recall(name, prediction, split)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the entries of a summary's ``scores``."""
        for stage, subject, artifact, protocol in self.scored:
            if artifact.state != "finished":
                continue
            record = read_json(artifact.folder / evaluate.SCORE)
            if stage != "cam":
                yield {"stage": stage, "subject": subject, **record} | {
                    "protocol": protocol
                }
                continue
            for kind in ("fixed", "oracle"):
                chosen = {
                    "threshold": record[kind].pop("threshold"),
                    "threshold_chosen": kind,
                    "uses_truth": protocol["uses_truth"] or kind == "oracle",
                }
                yield {"stage": stage, "subject": subject, **record[kind]} | {
                    "num_images": record["num_images"],
                    "miou_by_threshold": record["miou_by_threshold"],
                    "protocol": protocol | chosen,
                }

    def _truth(self, split: str) -> evaluate.Truth | None:
        """Return the masked images of a split, as far as the index is finished."""
        if self.masks is None or self._graph.made.index.state != "finished":
            return None
        index = self._graph.index_table()
        masked = [image for image in index.split(split) if image.name in self.masks]
        return evaluate.Truth(masked, self.masks, index.class_names)

    def _evaluate(
        self, scored: Artifact, split: str, settings: dict[str, Any]
    ) -> Request | None:
        """Return the request of a score, None where no image has a mask."""
        if self.masks is None:
            return None
        names = [image.name for image in self._graph.listed(split)]
        if not any(name in self.masks for name in names):
            return None
        request = {"masks": self.masks.fingerprint(names), "split": split}
        inputs = {"index": self._graph.made.index, "scored": scored}
        return Request(
            "evaluate", evaluate.VERSION, request | settings, inputs, uses_truth=True
        )

    def _labels(
        self,
        stage: str,
        subject: str,
        scored: Artifact,
        split: str,
        protocol: Protocol,
    ) -> None:
        table = self._settings
        settings = table.model_dump(mode="json", exclude={"cam_threshold"})
        request = self._evaluate(scored, split, {"of": "labels"} | settings)
        if request is None:
            return

        def run(folder: Path) -> None:
            masked = self._truth(split)
            if masked is not None:
                labels = LabelFolder(scored.folder / "labels")
                record = evaluate.score_labels(
                    labels, masked, table, runtime=self._graph.runtime
                )
                write_json(folder / evaluate.SCORE, record)

        artifact = self._graph.builder.make(
            request,
            run,
            subject=f"{stage} {subject}",
            num_images=len(self._graph.listed(split)),
        )
        self._add(stage, subject, artifact, {"split": split} | protocol, scored)

    def _cam(self, subject: str, voter: VoterArtifacts) -> None:
        settings = {"of": "cam", "cam_threshold": self._settings.cam_threshold}
        request = self._evaluate(voter.cam, "train", settings)
        if request is None:
            return

        def run(folder: Path) -> None:
            masked = self._truth("train")
            if masked is not None:
                record = evaluate.score_cams(
                    voter.cam.folder / "cams",
                    masked,
                    self._settings,
                    runtime=self._graph.runtime,
                )
                write_json(folder / evaluate.SCORE, record)

        artifact = self._graph.builder.make(request, run, subject=f"cam {subject}")
        protocol = {"split": "train"} | self._seed_protocol(voter) | {"crf": "none"}
        self._add("cam", subject, artifact, protocol, voter.cam)

    def _clean(self, voted: Artifact) -> None:
        request = self._evaluate(voted, "train", {"of": "support"})
        num_voters = len(self._graph.made.voters)
        if request is None:
            return

        def run(folder: Path) -> None:
            masked = self._truth("train")
            if masked is not None:
                record = evaluate.score_support(
                    voted.folder,
                    masked,
                    num_voters=num_voters,
                    runtime=self._graph.runtime,
                )
                write_json(folder / evaluate.SCORE, record)

        artifact = self._graph.builder.make(request, run, subject="clean pixels")
        self._add(
            "vote",
            "clean pixels",
            artifact,
            {"split": "train"} | self._vote_protocol(),
            voted,
        )

    def _agreement(self, voted: Artifact) -> None:
        made = self._graph.made
        voters = {name: voter.seed for name, voter in made.voters.items()}

        def run(folder: Path) -> None:
            index = self._graph.index_table()
            proxies.of_vote(
                {n: LabelFolder(a.folder / "labels") for n, a in voters.items()},
                voted.folder,
                index.split("train"),
                folder,
                num_classes=index.num_classes,
                runtime=self._graph.runtime,
            )

        inputs = {"index": made.index, "vote": voted} | voters
        self.proxies["vote"] = self._graph.builder.make(
            Request("proxies", proxies.VERSION, {"of": "vote"}, inputs),
            run,
            subject="vote",
        )

    def _tag_recall(self, name: str, prediction: Artifact, split: str) -> None:
        def run(folder: Path) -> None:
            images: tuple[ImageRecord, ...] = self._graph.index_table().split(split)
            proxies.of_prediction(
                LabelFolder(prediction.folder / "labels"),
                images,
                folder,
                runtime=self._graph.runtime,
            )

        inputs = {"index": self._graph.made.index, "predict": prediction}
        self.proxies[f"predict {name}"] = self._graph.builder.make(
            Request("proxies", proxies.VERSION, {"of": "predict"}, inputs),
            run,
            subject=f"predict {name}",
        )

    def _add(
        self,
        stage: str,
        subject: str,
        artifact: Artifact,
        protocol: Protocol,
        scored: Artifact,
    ) -> None:
        finished = scored.state == "finished"
        protocol = protocol | {
            "uses_truth": scored.uses_truth if finished else False,
            "random_seed": self._recipe.random_seed,
        }
        self.scored.append(Scored(stage, subject, artifact, protocol))

    def _seed_protocol(self, voter: VoterArtifacts) -> Protocol:
        inference = voter.settings.cam
        return {
            "scales": [round(voter.scale * each, 4) for each in inference.scales],
            "flip": inference.flip,
            "crf": voter.settings.seed.crf,
            "tags_at_test": True,
            "init": initialisation(voter.settings),
        }

    def _vote_protocol(self) -> Protocol:
        voters = [self._seed_protocol(v) for v in self._graph.made.voters.values()]
        return {
            "scales": sorted({scale for each in voters for scale in each["scales"]}),
            "flip": any(each["flip"] for each in voters),
            "crf": " ".join(sorted({each["crf"] for each in voters})),
            "tags_at_test": True,
            "init": "; ".join(sorted({each["init"] for each in voters})),
        }

    def _predict_protocol(self, settings: config.Predict | None) -> Protocol:
        used = settings or self._recipe.predict
        return {
            "scales": list(used.scales),
            "flip": used.flip,
            "crf": used.crf,
            "tags_at_test": False,
            "init": initialisation(self._recipe.segment),
        }
