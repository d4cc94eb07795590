"""Ask for the scores of everything that was made, each with its protocol."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask import config
from tag2mask.artifacts.build import Artifact, Request
from tag2mask.artifacts.files import read_json, write_json
from tag2mask.artifacts.labels import LabelFolder
from tag2mask.pipeline.graph import Graph
from tag2mask.pipeline.protocols import (
    Protocol,
    ballot_protocol,
    predict_protocol,
    refined_protocol,
    relabel_protocol,
    seed_protocol,
    vote_protocol,
)
from tag2mask.pipeline.voters import VoterArtifacts
from tag2mask.stages import cam, evaluate, evaluate_vote, localize, proxies, truth


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
        has_masks = graph.recipe.data.masks is not None
        self.masks = truth.open_masks(graph.recipe.data) if has_masks else None
        self.scored: list[Scored] = []
        self.proxies: dict[str, Artifact] = {}

    def make(self) -> None:
        """Ask for every score and proxy."""
        made, table = self._graph.made, self._recipe.segment.second_round
        for name, voter in made.voters.items():
            self._tag_map(voter)
            self._cam(name, voter)
            self._labels("seed", name, voter.seed, seed_protocol(voter))
            if (labels := voter.refined.labels) is not None:
                self._labels("refine", name, labels, ballot_protocol(voter))
        if made.vote is not None:
            learnt, protocol = made.vote, self._vote_protocol
            self._labels("vote", "vote", learnt, protocol)
            if (labels := made.refined.labels) is not None:
                protocol = refined_protocol(protocol, self._recipe.vote.refine)
                learnt = labels
                self._labels("vote_refine", "vote", learnt, protocol)
            self._clean(learnt, protocol)
            self._agreement(made.vote)
        relabelled = made.segmented.relabelled if made.segmented else None
        if relabelled is not None and table is not None:
            protocol = relabel_protocol(self._recipe, table)
            self._labels("relabel", "segmenter", relabelled, protocol)
        for name, prediction in made.predictions.items():
            settings = self._recipe.predict
            used = settings.plain if name == "plain" else settings
            protocol = predict_protocol(self._recipe, used, self._graph.test_split)
            self._labels("predict", name, prediction, protocol)
            self._tag_recall(name, prediction)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield the entries of a summary's ``scores``."""
        for stage, subject, artifact, protocol in self.scored:
            if artifact.state != "finished":
                continue
            artifact.require_whole()
            record = read_json(artifact.folder / evaluate.SCORE)
            protocol = protocol | {"masks": record.pop("masks")}
            if stage != "cam":
                yield {"stage": stage, "subject": subject, **record} | {
                    "protocol": protocol
                }
                continue
            for kind in ("fixed", "label_free", "oracle"):
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

    def _score(
        self,
        stage: str,
        subject: str,
        scored: Artifact,
        protocol: Protocol,
        settings: dict[str, Any],
        score: Callable[[evaluate.Truth], dict[str, Any]],
    ) -> None:
        """Ask for one score; nothing where no image of the split has a mask."""
        graph, split = self._graph, protocol["split"]
        masks = self.masks
        names = [image.name for image in graph.listed(split)]
        # asked once: a mask that goes while a run lasts must not change what is scored
        with_mask = {name for name in names if masks is not None and name in masks}
        if masks is None or not with_mask:
            return

        def known_protocol() -> Protocol:
            finished = scored.state == "finished"
            return protocol | {
                "uses_truth": scored.uses_truth if finished else False,
                "random_seed": self._recipe.random_seed,
            }

        def run(folder: Path) -> None:
            index = graph.index_table()
            masked = [each for each in index.split(split) if each.name in with_mask]
            truth = evaluate.Truth(masked, masks, index.class_names)
            record = score(truth) | {"protocol": known_protocol()}
            write_json(folder / evaluate.SCORE, record)

        request = Request(
            "evaluate",
            evaluate.VERSION,
            settings | {"masks": masks.fingerprint(names), "split": split},
            {"index": graph.made.index, "scored": scored},
            uses_truth=True,
        )
        artifact = graph.builder.make(
            request, run, subject=f"{stage} {subject}", num_images=len(names)
        )
        self.scored.append(Scored(stage, subject, artifact, known_protocol()))

    def _labels(
        self, stage: str, subject: str, scored: Artifact, protocol: Protocol
    ) -> None:
        table = self._recipe.evaluate
        settings = table.model_dump(mode="json", exclude={"cam_threshold"})
        labels = LabelFolder(scored.folder / "labels")
        runtime = self._graph.runtime
        self._score(
            stage,
            subject,
            scored,
            protocol,
            {"of": "labels"} | settings,
            lambda truth: evaluate.score_labels(labels, truth, table, runtime=runtime),
        )

    def _cam(self, subject: str, voter: VoterArtifacts) -> None:
        table = self._recipe.evaluate
        cams = voter.cam.folder / "cams"
        runtime = self._graph.runtime
        self._score(
            "cam",
            subject,
            voter.cam,
            seed_protocol(voter) | {"crf": "none"},
            {"of": "cam", "cam_threshold": table.cam_threshold},
            lambda truth: evaluate.score_cams(
                cams,
                truth,
                {
                    "fixed": table.cam_threshold,
                    "label_free": cam.read_threshold(voter.cam.folder),
                },
                runtime=runtime,
            ),
        )

    def _clean(self, voted: Artifact, protocol: Protocol) -> None:
        runtime = self._graph.runtime
        self._score(
            "vote",
            "clean pixels",
            voted,
            protocol,
            {"of": "support"},
            lambda truth: evaluate_vote.score_support(
                voted.folder, truth, num_voters=len(self._graph.kept), runtime=runtime
            ),
        )

    def _agreement(self, voted: Artifact) -> None:
        made = self._graph.made
        voters = {name: voter.ballot for name, voter in made.electors.items()}

        def run(folder: Path) -> None:
            index = self._graph.index_table()
            proxies.of_vote(
                {
                    name: LabelFolder(voters[name].folder / "labels")
                    for name in self._graph.kept
                },
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

    def _tag_map(self, voter: VoterArtifacts) -> None:
        """Ask how well a network knows the tags of unseen images; once for each."""
        subject = f"tags of {voter.network}"  # how it is read is of no account
        trained, settings = voter.localize, voter.settings
        if subject in self.proxies or not self._graph.listed("val"):
            return
        if trained is None or isinstance(settings, config.TextCam):
            return

        def run(folder: Path) -> None:
            table = self._graph.index_table()
            network = localize.load(
                trained.folder, settings, num_classes=table.num_classes
            )
            proxies.of_classifier(
                network, table, table.split("val"), folder, runtime=self._graph.runtime
            )

        inputs = {"index": self._graph.made.index, "localize": trained}
        self.proxies[subject] = self._graph.builder.make(
            Request("proxies", proxies.VERSION, {"of": "classifier"}, inputs),
            run,
            subject=subject,
        )

    def _tag_recall(self, name: str, prediction: Artifact) -> None:
        def run(folder: Path) -> None:
            proxies.of_prediction(
                LabelFolder(prediction.folder / "labels"),
                self._graph.index_table().split(self._graph.test_split),
                folder,
                runtime=self._graph.runtime,
            )

        inputs = {"index": self._graph.made.index, "predict": prediction}
        self.proxies[f"predict {name}"] = self._graph.builder.make(
            Request("proxies", proxies.VERSION, {"of": "predict"}, inputs),
            run,
            subject=f"predict {name}",
        )

    @property
    def _vote_protocol(self) -> Protocol:
        voters = [self._graph.made.voters[name] for name in self._graph.kept]
        return vote_protocol(self._recipe.vote, voters)
