"""Random walk of scores between edges (IRNet; Ahn et al., CVPR 2019).

Scores spread to near pixels unless an edge lies between. The transition matrix T is as
large as the square of the number of pixels, but each of its rows holds one small
neighbourhood: it is applied step by step to the few score maps, and no power of it is
ever built.
"""

from types import EllipsisType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tag2mask.functional.neighbourhood import pairs_within
from tag2mask.functional.precision import at_least_float32
from tag2mask.functional.turns import at_device
from tag2mask.kernels import random_walk as kernels

_Window = tuple[EllipsisType, slice, slice]


def affinity(
    edges: Float[Tensor, "*b h w"], *, radius: int = 5, beta: float = 10.0
) -> Float[Tensor, "*b n h w"]:
    """Say how easily a walker passes between near pixels.

    ``(1 - max edge on the path)^beta``, of each pair of ``pairs_within(radius)``, at
    the pair's first pixel; 0 where the second lies outside the image. It is symmetric;
    that of a pixel with itself is 1 and not among them.

    Args:
        edges: Probability of a class boundary, in [0, 1].
        radius: A pair's pixels lie nearer than this, in pixels.
        beta: Exponent; the larger, the more an edge stops.

    Raises:
        ValueError: If an edge lies outside [0, 1] or is nan, the radius is below 1 or
            beta is negative.
    """
    _check_edges(edges)
    if not 0 <= beta < float("inf"):
        raise ValueError(f"beta must be finite and not negative, got {beta}")
    pairs = pairs_within(radius)
    *batch, height, width = edges.shape
    affinities = edges.new_zeros((*batch, len(pairs), height, width))
    for number, pair in enumerate(pairs):
        down, right = pair.offset.tolist()
        top, bottom = 0, height - down
        first, last = max(0, -right), width - max(0, right)
        if bottom <= top or last <= first:  # the image is smaller than the pair
            continue
        highest = torch.zeros_like(edges[..., top:bottom, first:last])
        for y, x in pair.path.tolist():
            on_path = edges[..., top + y : bottom + y, first + x : last + x]
            highest = torch.maximum(highest, on_path)
        affinities[..., number, top:bottom, first:last] = (1 - highest) ** beta
    return affinities


def random_walk(
    scores: Float[Tensor, "*b k h w"],
    edges: Float[Tensor, "*b h w"],
    *,
    radius: int = 5,
    beta: float = 10.0,
    num_steps: int = 256,
) -> Float[Tensor, "*b k h w"]:
    """Let scores walk: ``T^num_steps`` applied to each map.

    One step replaces a value by the mean over its neighbourhood, weighted by
    `affinity`, with weight 1 for itself; pixels outside the image take no part. So a
    constant map stays as it is, and so does every map where all edges are 1. IRNet
    starts from ``cam * (1 - edge)``: see `refine_cams`.

    On the CPU memory is about 4 * 34 bytes a pixel at radius 5, and three times the
    maps; it runs on one thread and lets go of the interpreter's lock: for many images,
    call it from several threads. On other devices see `walk_by_windows`; there, walk
    images of one size together.

    Args:
        scores: Maps of any finite values, one image or a batch of them.
        edges: Probability of a class boundary at each pixel, in [0, 1].
        radius: Neighbours lie nearer than this, in pixels.
        beta: Exponent of the affinity.
        num_steps: Steps of the walk; 0 returns the scores.

    Returns:
        Float64 where either input is, else float32.

    Raises:
        ValueError: If scores are not finite, an edge lies outside [0, 1], sizes differ,
            or a knob is out of its range.
    """
    _check(scores, edges, num_steps)
    dtype = torch.promote_types(scores.dtype, edges.dtype)
    maps = at_least_float32(scores.detach().to(dtype))
    affinities = affinity(edges.detach().to(maps.dtype), radius=radius, beta=beta)
    if num_steps == 0 or maps.numel() == 0:
        return maps.clone()
    if maps.device.type != "cpu":
        with at_device:
            return walk_by_windows(maps, affinities, radius=radius, num_steps=num_steps)
    walked = [
        _walk_compiled(each, near, radius=radius, num_steps=num_steps)
        for each, near in zip(
            maps[None].flatten(0, -4),
            affinities[None].flatten(0, -4),
            strict=True,
        )
    ]
    return torch.stack(walked).reshape(maps.shape)


def walk_by_windows(
    maps: Float[Tensor, "*b k h w"],
    affinities: Float[Tensor, "*b n h w"],
    *,
    radius: int,
    num_steps: int,
) -> Float[Tensor, "*b k h w"]:
    """Walk as `random_walk` does, on any device, each step in a few operations.

    Every pixel weighs the window around it: memory for ``(2 radius - 1)^2`` times the
    maps, some three times over, so that a step is a few launches on a GPU.

    Args:
        maps: Scores, finite.
        affinities: Those of `affinity` at the same radius, of the maps' type.
        radius: As above.
        num_steps: As above.
    """
    reach = radius - 1
    height, width = maps.shape[-2:]
    near = _pad(affinities, reach)
    here = _window(reach, reach, height, width)
    side = 2 * reach + 1
    weights = maps.new_zeros(*maps.shape[:-3], 1, height, width, side, side)
    for number, pair in enumerate(pairs_within(radius)):
        down, right = pair.offset.tolist()
        ahead, behind = near[..., number, :, :][here], near[..., number, :, :]
        behind = behind[_window(reach - down, reach - right, height, width)]
        weights[..., 0, :, :, reach + down, reach + right] = ahead
        weights[..., 0, :, :, reach - down, reach - right] = behind
    weights /= 1 + weights.sum((-2, -1), keepdim=True)
    for _ in range(num_steps):
        seen = _pad(maps, reach).unfold(-2, side, 1).unfold(-2, side, 1)
        # the change, not the mean: what hardly mixes keeps all its digits
        maps = maps + ((seen - maps[..., None, None]) * weights).sum((-2, -1))
    return maps


class Walk(NamedTuple):
    """How far scores walk, by default as in the code of IRNet.

    Attributes:
        radius: See `random_walk`, as for the two below.
        beta: See there.
        num_steps: See there.
        damping: Power of ``1 - edge`` that scores are multiplied by before they walk; 0
            keeps objects that are a few pixels of the grid wide, all of them edge.
    """

    radius: int = 5
    beta: float = 10.0
    num_steps: int = 256
    damping: float = 1.0


def refine_cams(
    cams: Float[Tensor, "t h w"],
    edges: Float[Tensor, "h w"],
    *,
    size: tuple[int, int],
    walk: Walk = Walk(),  # noqa: B008
) -> Float[Tensor, "t h w"]:
    """Walk ``cam (1 - edge)^damping`` and scale it so that one threshold fits all.

    Resized bilinearly to the image's size, pixel centres aligned, the highest value of
    all classes together is 1 (unlike those of activation maps, classes keep their
    proportions). A constant background of 0.25 and argmax make labels of them [peer].

    Args:
        cams: Activation maps of an image's tags on a grid, such as stride 4.
        edges: Probability of a class boundary on the same grid, in [0, 1].
        size: Rows and columns of the image.
        walk: How far.

    Returns:
        Scores on the grid, small enough to be stored; maps of zeros stay zeros.

    Raises:
        ValueError: As `random_walk`.
    """
    if len(cams) == 0:
        return cams.clone()
    _check(cams, edges, walk.num_steps)
    walked = random_walk(
        cams * (1 - edges) ** walk.damping,
        edges,
        radius=walk.radius,
        beta=walk.beta,
        num_steps=walk.num_steps,
    )
    resized = functional.interpolate(
        walked[None], size, mode="bilinear", align_corners=False
    )
    return walked / resized.amax().clamp_min(torch.finfo(walked.dtype).tiny)


def dense_transition(
    edges: Float[Tensor, "h w"], *, radius: int = 5, beta: float = 10.0
) -> Float[Tensor, "p p"]:
    """Build the transition matrix T, rows normalised: for tests and small images.

    ``T^n @ scores.flatten(1).T`` is what `random_walk` computes; its memory grows with
    the square of the number of pixels. Arguments and errors: see `affinity`.
    """
    height, width = edges.shape
    index = torch.arange(height * width, device=edges.device).reshape(height, width)
    near = affinity(edges, radius=radius, beta=beta)
    matrix = torch.eye(height * width, dtype=edges.dtype, device=edges.device)
    for pair, weights in zip(pairs_within(radius), near, strict=True):
        down, right = pair.offset.tolist()
        first, last = max(0, -right), width - max(0, right)
        if down >= height or last <= first:
            continue
        begin = index[: height - down, first:last]
        end = begin + down * width + right
        matrix[begin, end] = matrix[end, begin] = weights[: height - down, first:last]
    return matrix / matrix.sum(dim=1, keepdim=True)


def _walk_compiled(
    maps: Float[Tensor, "k h w"],
    affinities: Float[Tensor, "n h w"],
    *,
    radius: int,
    num_steps: int,
) -> Float[Tensor, "k h w"]:
    reach = radius - 1
    padded = _pad(maps, reach)
    padded_width = padded.shape[-1]
    shifts = [
        down * padded_width + right
        for down, right in (pair.offset.tolist() for pair in pairs_within(radius))
    ]
    walked = kernels.walk(
        padded.flatten(1).numpy(),
        _pad(affinities, reach).flatten(1).numpy(),
        np.array(shifts, np.int64),
        padded_width,
        reach,
        num_steps,
    )
    here = _window(reach, reach, *maps.shape[-2:])
    return torch.from_numpy(walked).reshape(padded.shape)[here].clone()


def _pad(planes: Float[Tensor, "*b h w"], reach: int) -> Float[Tensor, "*b hp wp"]:
    """Put zeros around each plane; a copy even where there is nothing to put."""
    return functional.pad(planes, (reach, reach, reach, reach)).contiguous()


def _window(top: int, left: int, height: int, width: int) -> _Window:
    """Index the pixels of a padded plane, shifted."""
    return (..., slice(top, top + height), slice(left, left + width))


def _check(scores: Tensor, edges: Tensor, num_steps: int) -> None:
    """Refuse what the walk would spread over the image; edges are checked later."""
    expected = (*scores.shape[:-3], *scores.shape[-2:])
    if scores.ndim < 3 or edges.shape != expected:
        raise ValueError(
            f"scores must have shape (maps, height, width), and edges their height and "
            f"width; got {tuple(scores.shape)} and {tuple(edges.shape)}"
        )
    if num_steps < 0:
        raise ValueError(f"num_steps must not be negative, got {num_steps}")
    if not scores.isfinite().all():
        raise ValueError("scores must be finite, but some are nan or infinite")


def _check_edges(edges: Tensor) -> None:
    if edges.numel() == 0:
        raise ValueError(f"edges must hold a pixel, got shape {tuple(edges.shape)}")
    lowest, highest = torch.aminmax(edges.detach())
    if not (lowest >= 0 and highest <= 1):  # false for nan too
        raise ValueError(
            f"edges must lie in [0, 1], got values from {lowest.item():.3g} to "
            f"{highest.item():.3g}"
        )
