"""How activation maps are read, and how they become labels."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from tag2mask.config.base import Crf, Precision, Scales, Schema


class CamViews(Schema):
    """Which views of an image its activation maps are summed over."""

    scales: Scales = (0.5, 1.0, 1.5, 2.0)
    """Factors of the image's own size; the voter's scale multiplies each [peer]."""
    flip: bool = True
    """Add the mirror image of every scale."""
    contrast: bool = False
    """Take the mean over all tags off each tag's logits first [ours]; eq. 2 does not
    [paper]."""


class CamInference(CamViews):
    """How activation maps are read off a trained classifier."""

    precision: Precision = "32"
    """Of the arithmetic of the network."""


class TextViews(CamViews):
    """How activation maps are read off an image-text model."""

    contrast: bool = True
    """Take the mean over all classes' texts off each class's text first [ours]: what an
    image has in common with all texts tells nothing of its places."""


class Seeding(Schema):
    """How activation maps become a label map."""

    alpha: PositiveFloat | Literal["otsu", "agreement", "oracle"] | None = "otsu"
    """Background score (1 - max M)^alpha: the larger, the less background. A word finds
    one for each voter: background and object tie at a threshold of its scores [ours].
    ``otsu``: the one that best splits them in two. ``agreement``: the one whose objects
    agree best with the vote of the other voters, who are seeded by ``otsu`` for this
    where they would ask for agreement or the oracle. ``oracle``: the best one on the
    masks of the train split; all that follows uses the truth, and says so."""
    background: Annotated[float, Field(gt=0, lt=1)] | None = None
    """A constant background score instead of alpha."""
    crf: Crf = "seeds"
    """Preset of the dense CRF that moves labels to edges [paper]."""
    crf_shrink: Literal[1, 2, 4] = 1
    """Run the CRF on an image this many times smaller."""

    @model_validator(mode="before")
    @classmethod
    def _one_background(cls, table: Any) -> Any:  # noqa: ANN401
        if isinstance(table, dict) and table.get("background") is not None:
            return {"alpha": None} | table
        return table

    @model_validator(mode="after")
    def _background_is_one(self) -> "Seeding":
        if (self.alpha is None) == (self.background is None):
            raise ValueError("give either alpha or background, the other being absent")
        return self
