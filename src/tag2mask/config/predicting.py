"""How a trained segmenter labels images: for scores, and for a second round."""

from typing import Annotated, Literal

from pydantic import Field

from tag2mask.config.base import Crf, Precision, Scales, Schema


class Views(Schema):
    """How a segmenter sees an image."""

    scales: Scales = (1.0,)
    """Factors of the image's own size."""
    flip: bool = False
    """Average with the mirror image of every scale."""
    crf: Crf = "none"
    """Preset of the dense CRF that moves labels to edges."""
    precision: Precision = "32"
    """Of the arithmetic of the network."""


class Predict(Views):
    """The protocol of the last score.

    The plain one (one scale, no mirror, no CRF) is always scored beside it.
    """

    presence: Annotated[float, Field(ge=0, le=100)] = 0.0
    """A class's probabilities are multiplied by the greatest in the image to this."""

    @property
    def plain(self) -> "Predict":
        """The plain protocol."""
        return Predict(presence=self.presence)


class SecondRound(Views):
    """How the segmenter labels the train split anew, tags known, to learn on [ours]."""

    flip: bool = True
    crf: Crf = "irnet"
    crf_shrink: Literal[1, 2, 4] = 1
    """Run the CRF on an image this many times smaller."""
