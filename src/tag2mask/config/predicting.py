"""How a trained segmenter labels images: for scores, and for a second round."""

from typing import Annotated, Any, Literal

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

    The plain one (one scale, no mirror, no CRF, the same presence) is always scored
    beside it.
    """

    presence: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Power of a class's greatest probability in the image, by which its probabilities
    are multiplied, but for background's; 0: they are not [ours]."""

    @property
    def plain(self) -> "Predict":
        """The plain protocol."""
        return Predict(presence=self.presence)

    def told(self) -> dict[str, Any]:
        """Return the knobs that tell labels from others, as JSON values.

        Without presence it is not named, as before there was such a knob.
        """
        left_out = set() if self.presence else {"presence"}
        return self.model_dump(mode="json", exclude=left_out)


class SecondRound(Views):
    """How the segmenter labels the train split anew, tags known, to learn on [ours]."""

    flip: bool = True
    crf: Crf = "irnet"
    crf_shrink: Literal[1, 2, 4] = 1
    """Run the CRF on an image this many times smaller."""
