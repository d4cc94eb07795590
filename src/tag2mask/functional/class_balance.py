"""Offsets of logits that keep rare classes from being drowned by frequent ones."""

from jaxtyping import Float, Int64
from torch import Tensor


def logit_adjustment(
    pixels: Int64[Tensor, "k"], *, strength: float
) -> Float[Tensor, "k"]:
    """Return ``strength log f``, f a class's share of the labelled pixels.

    Added to the logits in the loss and not when predicting, it takes the labels'
    frequencies out of what is learnt (Menon et al., ICLR 2021, eq. 10): strength 0
    is the plain loss, which minimises wrong pixels; strength 1 the one that minimises
    the mean of the classes' error rates.

    Args:
        pixels: Labelled pixels of each class; one without counts as having one.
        strength: In [0, 1].

    Returns:
        Float32 offsets, none above 0.

    Raises:
        ValueError: If the strength is out of range.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be in [0, 1], got {strength}")
    counts = pixels.clamp_min(1).double()
    return (strength * (counts / counts.sum()).log()).float()
