"""Which classes an image shows at all, as far as its own likeliest pixels tell."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from tag2mask.functional.precision import at_least_float32
from tag2mask.functional.shapes import BACKGROUND


def weigh_by_presence(
    logits: Float[Tensor, "b k h w"], *, strength: float
) -> Float[Tensor, "b k h w"]:
    """Multiply each class's probability by a power of its greatest in the image [ours].

    ``logits + strength log max p``, p the softmax over classes, the maximum over the
    pixels: uncertain pixels of a class that is certain nowhere go to classes that are
    certain somewhere. Background is always there and stays as it is.

    Args:
        logits: Background first; computed in float32 at least.
        strength: At least 0; 0 changes nothing.

    Returns:
        Logits, not normalised.

    Raises:
        ValueError: If the strength is negative.
    """
    if strength < 0:
        raise ValueError(f"strength must be at least 0, got {strength}")
    logits = at_least_float32(logits)
    # by hand: of channels, ONNX Runtime takes eight times as long for a log_softmax
    top = logits.amax(1, keepdim=True)
    total = (logits - top).exp().sum(1, keepdim=True).log() + top
    greatest = (logits - total)[:, BACKGROUND + 1 :].amax((2, 3), keepdim=True)
    return logits + strength * pad(greatest, (0, 0, 0, 0, 1, 0))
