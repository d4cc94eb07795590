"""Class activation maps from the raw logits of a classifier."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

SMALLEST_PEAK = 1e-5
"""Added to the maximum that a map is divided by: a map without activation stays 0."""


def class_activation(
    logit_maps: Float[Tensor, "b t h w"], *, contrast: bool = False
) -> Float[Tensor, "b t h w"]:
    """Drop the evidence against a class: ``ReLU(w_k . f)`` (multi-seed, eq. 2).

    Args:
        logit_maps: Output of the bias-free 1x1 head before pooling and sigmoid, of
            every tag that the classifier knows.
        contrast: Take off each pixel's mean over all tags first: ``ReLU((w_k - mean
            of w) . f)`` [ours]. What speaks for or against all tags alike then counts
            no longer. A single tag has nothing to be compared with and stays.
    """
    if contrast and logit_maps.shape[1] > 1:
        logit_maps = logit_maps - logit_maps.mean(dim=1, keepdim=True)
    return logit_maps.relu()


def merge_views(
    views: Sequence[Float[Tensor, "b t _ _"]],
    *,
    is_mirrored: Sequence[bool],
    size: tuple[int, int],
) -> Float[Tensor, "b t h w"]:
    """Sum the maps of several views of the same images on one grid.

    Views are resized bilinearly with pixel centres aligned (``align_corners=False``).

    Args:
        views: Maps of one scale and orientation each, of any size.
        is_mirrored: Whether the view shows the images mirrored left to right; such
            maps are flipped back.
        size: Rows and columns of the result.

    Raises:
        ValueError: If there is no view, or not one orientation for each.
    """
    if not views or len(views) != len(is_mirrored):
        raise ValueError(
            "expected at least one view and one orientation for each, "
            f"got {len(views)} views and {len(is_mirrored)} orientations"
        )
    upright = [
        view.flip(-1) if mirrored else view
        for view, mirrored in zip(views, is_mirrored, strict=True)
    ]
    resized = [
        interpolate(view, size, mode="bilinear", align_corners=False)
        for view in upright
    ]
    return torch.stack(resized).sum(dim=0)


def normalise_cams(cams: Float[Tensor, "*b t h w"]) -> Float[Tensor, "*b t h w"]:
    """Divide each map by its own maximum (multi-seed, eq. 2, text below).

    The maximum is raised by ``SMALLEST_PEAK``, so that values stay below 1 and a map
    of zeros stays zero.

    Args:
        cams: Maps without negative values, such as those of ``class_activation``.
    """
    return cams / (cams.amax(dim=(-2, -1), keepdim=True) + SMALLEST_PEAK)
