"""What is served: the model of a run or a folder, and what is known of it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch

from tag2mask import config
from tag2mask.artifacts.files import file_digest
from tag2mask.artifacts.work import latest_summary
from tag2mask.deploy import SUFFIX
from tag2mask.engine.map_images import one_torch_thread
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import ModelError, Tag2MaskError
from tag2mask.functional.palette import voc_palette
from tag2mask.models.locate import locate_segmenter
from tag2mask.models.segmenters import CARD, WEIGHTS, Segmenter, load_segmenter
from tag2mask.prediction import predict_settings, protocol_in_words
from tag2mask.serve.worker import Answer, Question
from tag2mask.stages.predict import pick_labels, predict_scores

VERSION_DIGITS = 12


class Served(Protocol):
    """A model that answers questions."""

    @property
    def version(self) -> str:
        """What tells it from others."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class id, background first."""

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions whose images are of one size."""

    def described(self) -> dict[str, Any]:
        """Return names, colours, card, protocol and scores as JSON values."""


@dataclass(frozen=True)
class ServedModel:
    """A segmenter that answers questions.

    Attributes:
        segmenter: The network, its classes and its card.
        settings: The protocol of every answer.
        device: Where the network is.
        version: The first digits of the SHA-256 of the weights.
        scores: Of the run that made it, each with its protocol; none for a folder.
        workers: Threads over images, on a CPU.
    """

    segmenter: Segmenter
    settings: config.Predict
    device: torch.device
    version: str
    scores: tuple[Mapping[str, Any], ...]
    workers: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class id, background first."""
        return self.segmenter.class_names

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions whose images are of one size.

        A GPU sees them in one batch. On a CPU that gains nothing, and an image a thread
        more than the threads of torch do.
        """
        if self.device.type == "cpu" and len(questions) > 1:
            with one_torch_thread:
                return list(self._pool.map(self._predict_one, questions))
        return self._predict_batch(questions)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Kept, since torch keeps memory for every thread that it has seen."""
        return ThreadPoolExecutor(self.workers, thread_name_prefix="predict")

    def _predict_one(self, question: Question) -> Answer:
        return self._predict_batch([question])[0]

    def _predict_batch(self, questions: Sequence[Question]) -> list[Answer]:
        scores = predict_scores(
            self.segmenter.network,
            [question.pixels for question in questions],
            self.settings,
            self.device,
        )
        answers = []
        for question, each in zip(questions, scores, strict=True):
            labels = pick_labels(each).numpy()
            probabilities = None
            if question.wants_probabilities:
                is_logits = self.settings.crf == "none"
                shares = each.softmax(0) if is_logits else each
                probabilities = shares.cpu().numpy()
            answers.append(Answer(labels, probabilities))
        return answers

    def described(self) -> dict[str, Any]:
        """Return names, colours, card, protocol and scores as JSON values."""
        card = {k: v for k, v in self.segmenter.card.items() if k != "class_names"}
        told = described(self.version, self.class_names, card, self.settings)
        return told | {"scores": list(self.scores)}


def described(
    version: str,
    class_names: Sequence[str],
    card: Mapping[str, Any],
    settings: config.Predict,
) -> dict[str, Any]:
    """Return what is known of a model without a run as JSON values."""
    return {
        "version": version,
        "classes": [
            {"id": number, "name": name, "colour": colour(number)}
            for number, name in enumerate(class_names)
        ],
        "card": dict(card),
        "protocol": settings.model_dump(mode="json"),
        "protocol_in_words": protocol_in_words(settings),
        "scores": [],
    }


def colour(class_id: int) -> str:
    """Return the colour of a class in PASCAL VOC's palette, as ``#rrggbb``."""
    red, green, blue = voc_palette(class_id + 1)[-3:]
    return f"#{red:02x}{green:02x}{blue:02x}"


def find_summary(target: Path) -> Path | None:
    """Return the summary of a run, None for a segmenter by itself.

    Raises:
        ModelError: If the target is neither.
    """
    if (target / CARD).exists() or target.suffix == SUFFIX:
        return None
    try:
        return latest_summary(target).resolve()
    except Tag2MaskError:
        raise ModelError(
            f"{target} cannot be served: expected summary.json of a run, its work "
            f"folder, a segment folder with {CARD}, or an exported *{SUFFIX}"
        ) from None


def open_model(
    target: Path, changes: Mapping[str, Any], *, runtime: Runtime
) -> ServedModel:
    """Load the segmenter of a run or of a folder.

    Args:
        target: summary.json, a work folder or a segment folder.
        changes: Keys of the recipe's table ``predict``; a run's own protocol is the
            default, a folder's is one scale, no mirror, no CRF.
        runtime: Where it shall run, and how many threads there may be.

    Raises:
        ModelError: If there is no segmenter, or it cannot be loaded.
        RecipeError: If a changed key is out of bounds.
    """
    found = locate_segmenter(target)
    settings = predict_settings(found.protocol | dict(changes))
    segmenter = load_segmenter(found.folder)
    segmenter.network.to(runtime.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scores = found.run["scores"] if found.run else []
    return ServedModel(
        segmenter,
        settings,
        runtime.device,
        file_digest(found.folder / WEIGHTS)[:VERSION_DIGITS],
        tuple(score for score in scores if score["stage"] == "predict"),
        runtime.workers,
    )
