"""Maps of what stands out, as weak labels of pixels: explicit pseudo-pixel supervision.

Lee et al., "Railroad is not a Train", CVPR 2021 (EPS).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from tag2mask.functional.precision import at_least_float32

_SMALLEST_AREA = 1e-4
"""Added to the pixels that an overlap is a share of, so that none is no overlap."""
_HALF = 0.5


def saliency_loss(
    logit_maps: Float[Tensor, "b k h w"],
    saliency: Float[Tensor, "b sh sw"],
    tags: Bool[Tensor, "b t"],
    *,
    tau: float,
    balance: float,
) -> Float[Tensor, ""]:
    """Say how far the maps of the tags lie from what stands out (EPS, section 3).

    With M the softmax of the maps over background and tags, the tags whose map lies on
    the salient region make up the foreground, the others belong to the background:

        M_fg = sum of M_i over tags i with overlap above tau
        M_bg = M_background + sum of M_i over the image's other tags
        loss = mean (s - (balance M_fg + (1 - balance) (1 - M_bg)))^2

    Args:
        logit_maps: Background first, then every tag that the classifier knows.
        saliency: In [0, 1]; averaged over the area of each pixel of the maps.
        tags: Which tags each image has; maps of others take no part.
        tau: Least overlap of a salient tag, in [0, 1] (``find_salient``).
        balance: Share of the foreground, lambda in the paper, in [0, 1].
    """
    size = (logit_maps.shape[-2], logit_maps.shape[-1])
    target = functional.interpolate(
        at_least_float32(saliency)[:, None], size, mode="area"
    )[:, 0]
    shares = at_least_float32(logit_maps).softmax(dim=1)
    is_salient = find_salient(shares[:, 1:].detach(), target, tau=tau)
    foreground = _sum_of(shares[:, 1:], tags & is_salient)
    background = shares[:, 0] + _sum_of(shares[:, 1:], tags & ~is_salient)
    estimate = balance * foreground + (1 - balance) * (1 - background)
    return functional.mse_loss(estimate, target)


def find_salient(
    shares: Float[Tensor, "b t h w"], saliency: Float[Tensor, "b h w"], *, tau: float
) -> Bool[Tensor, "b t"]:
    """Say which tags lie on the salient region (EPS, section 3).

    The share of the pixels above one half in a tag's map that are above one half in
    ``saliency`` is larger than ``tau``. A tag without such a pixel is not salient.
    """
    mask = shares > _HALF
    both = (mask & (saliency > _HALF)[:, None]).sum(dim=(2, 3))
    return both / (mask.sum(dim=(2, 3)) + _SMALLEST_AREA) > tau


def _sum_of(
    maps: Float[Tensor, "b t h w"], chosen: Bool[Tensor, "b t"]
) -> Float[Tensor, "b h w"]:
    return torch.einsum("bthw,bt->bhw", maps, chosen.to(maps.dtype))
