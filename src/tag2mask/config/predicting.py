"""How a trained segmenter labels images: for scores, and for a second round."""

from typing import Literal

from tag2mask.config.base import Crf, Precision, Scales, Schema


class Predict(Schema):
    """The protocol of the last score.

    The plain one (one scale, no mirror, no CRF) is always scored beside it.
    """

    scales: Scales = (1.0,)
    """Factors of the image's own size."""
    flip: bool = False
    """Average with the mirror image of every scale."""
    crf: Crf = "none"
    """Preset of the dense CRF that moves labels to edges."""
    precision: Precision = "32"
    """Of the arithmetic of the network."""


class SecondRound(Predict):
    """How the segmenter labels the train split anew, tags known, to learn on [ours]."""

    flip: bool = True
    crf: Crf = "irnet"
    crf_shrink: Literal[1, 2, 4] = 1
    """Run the CRF on an image this many times smaller."""
