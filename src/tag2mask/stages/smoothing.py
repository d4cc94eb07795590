"""A dense CRF of hard labels, on the image or on a smaller one."""

from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask.functional.crf import PRESETS
from tag2mask.functional.label_crf import smooth_labels
from tag2mask.stages.seed import shrink_image


def smooth_shrunk(
    labels: UInt8[Tensor, "h w"],
    image: UInt8[Tensor, "h w 3"],
    *,
    preset: str,
    certainty: float,
    shrink: int,
) -> UInt8[Tensor, "h w"]:
    """Move labels to the edges of an image, seen ``shrink`` times smaller.

    Labels are made smaller and larger again by nearest pixel; one that a smaller image
    loses is lost.

    Args:
        labels: Class ids, or 255.
        image: The true RGB values.
        preset: Name of the CRF's knobs, which are told for the image's own size.
        certainty: See ``functional.label_crf.smooth_labels``.
        shrink: A factor, at least 1.
    """
    height, width = labels.shape
    small = -(-height // shrink), -(-width // shrink)
    smoothed = smooth_labels(
        _resized(labels, small),
        shrink_image(image, small),
        preset=PRESETS[preset].shrunk(shrink),
        certainty=certainty,
    )
    return _resized(smoothed, (height, width))


def _resized(
    labels: UInt8[Tensor, "h w"], size: tuple[int, int]
) -> UInt8[Tensor, "sh sw"]:
    if size == tuple(labels.shape):
        return labels
    return functional.interpolate(labels[None, None], size, mode="nearest-exact")[0, 0]
