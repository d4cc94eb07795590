"""From activation maps to a first label map."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tag2mask.functional.shapes import BACKGROUND, MAX_CLASSES


def background_score(
    cams: Float[Tensor, "t h w"], *, alpha: float
) -> Float[Tensor, "h w"]:
    """Score background where no object is active (multi-seed, section 2.2).

    ``(1 - max_k M_k) ^ alpha``. An image without tags is background everywhere.

    Args:
        cams: Activation maps in [0, 1], one per tag of the image.
        alpha: Exponent; the larger, the less background. It has no unit and no value
            that fits every source of maps: a source that is best cut at ``m`` wants
            about ``ln m / ln(1 - m)``.

    Raises:
        ValueError: If ``alpha`` is not above zero.
    """
    if alpha <= 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    if len(cams) == 0:
        return cams.new_ones(cams.shape[1:])
    return (1 - cams.amax(dim=0)).clamp_min(0) ** alpha


def alpha_of_threshold(threshold: float) -> float:
    """Return the exponent at which background and an object tie at a given score.

    ``ln m / ln(1 - m)``: an object of score m then equals ``(1 - m) ^ alpha``.

    Args:
        threshold: The score m, strictly between 0 and 1.

    Raises:
        ValueError: If it is not.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must lie between 0 and 1, got {threshold}")
    return math.log(threshold) / math.log1p(-threshold)


def join_background(
    cams: Float[Tensor, "t h w"], background: Float[Tensor, "h w"] | float
) -> Float[Tensor, "t+1 h w"]:
    """Put the background in front of the objects as channel 0.

    Args:
        cams: Activation maps in [0, 1], one per tag of the image.
        background: A map such as that of ``background_score``, or one score for all
            pixels, which then is the threshold an object has to pass.
    """
    if isinstance(background, float):
        background = cams.new_full(cams.shape[1:], background)
    return torch.cat([background.unsqueeze(0), cams])


def labels_from_scores(
    scores: Float[Tensor, "k h w"], class_ids: Sequence[int]
) -> UInt8[Tensor, "h w"]:
    """Give each pixel the class of its highest score.

    A tie goes to the earlier channel, hence to background before any object.

    Args:
        scores: One map per candidate class, background first.
        class_ids: The class that each channel stands for; the first is background.

    Raises:
        ValueError: If the ids do not fit the channels, do not begin with background
            or cannot be stored in an 8-bit label map.
    """
    if len(class_ids) != len(scores):
        raise ValueError(
            f"expected one class id per channel ({len(scores)}), got {len(class_ids)}"
        )
    if not class_ids or class_ids[0] != BACKGROUND:
        raise ValueError(
            f"class_ids must begin with background ({BACKGROUND}), "
            f"got {list(class_ids)}"
        )
    if not all(BACKGROUND <= class_id < MAX_CLASSES for class_id in class_ids):
        raise ValueError(
            f"class ids must lie between {BACKGROUND} and {MAX_CLASSES - 1}, "
            f"got {list(class_ids)}"
        )
    table = torch.tensor(class_ids, dtype=torch.uint8, device=scores.device)
    # of equal ones max takes the first, as argmax does, in a tenth of its time
    return table[scores.max(dim=0).indices]
