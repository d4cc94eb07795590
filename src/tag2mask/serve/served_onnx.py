"""An exported model that is served: ONNX Runtime answers, on the processor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.artifacts.files import file_digest
from tag2mask.deploy import Predictor
from tag2mask.errors import ModelError
from tag2mask.prediction import predict_settings
from tag2mask.serve.served import VERSION_DIGITS, described
from tag2mask.serve.worker import Answer, Question


@dataclass(frozen=True)
class ServedOnnx:
    """A file of ``tag2mask export onnx`` that answers questions.

    Attributes:
        predictor: The open file.
        version: The first digits of its SHA-256.
    """

    predictor: Predictor
    version: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """By class id, background first."""
        return self.predictor.class_names

    def predict(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions whose images are of one size."""
        images = np.stack([question.pixels.numpy() for question in questions])
        if not any(question.wants_probabilities for question in questions):
            return [Answer(each, None) for each in self.predictor.labels(images)]
        logits = self.predictor.logits(images)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        # a tie goes to the lowest id, here and in the graph
        labels = logits.argmax(axis=1).astype(np.uint8)
        wanted = [question.wants_probabilities for question in questions]
        return [
            Answer(each, share if is_wanted else None)
            for each, share, is_wanted in zip(labels, shares, wanted, strict=True)
        ]

    def described(self) -> dict[str, Any]:
        """Return names, colours, card and protocol as JSON values."""
        settings = predict_settings(self.predictor.protocol())
        return described(self.version, self.class_names, self.predictor.card, settings)


def open_onnx(path: Path, changes: Mapping[str, Any], *, threads: int) -> ServedOnnx:
    """Open an exported model.

    Args:
        path: The file.
        changes: Must be empty: the file has one scale, no mirror and no CRF.
        threads: Of ONNX Runtime.

    Raises:
        ModelError: If a change is asked for, or the file is no such model.
    """
    if changes:
        raise ModelError(
            f"{path} predicts as it was exported, without mirror and CRF; to change "
            f"{', '.join(sorted(changes))}, serve the run or the folder that it was "
            f"exported from"
        )
    predictor = Predictor(path, threads=threads)
    return ServedOnnx(predictor, file_digest(path)[:VERSION_DIGITS])
