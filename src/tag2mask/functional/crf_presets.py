"""Knobs of the dense CRF, and what both of its implementations make of an image."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

SMALLEST_SCORE = 1e-5
"""Where scores are clipped before the logarithm, as the field does."""


class CrfPreset(NamedTuple):
    """Knobs of the dense CRF.

    The kernels are ``exp(-|dx|^2 / 2 spatial_sxy^2)`` and
    ``exp(-|dx|^2 / 2 bilateral_sxy^2 - |drgb|^2 / 2 bilateral_srgb^2)``.
    """

    spatial_sxy: float
    """Standard deviation of the spatial kernel in pixels; at least 0.1."""
    spatial_weight: float
    """Energy, in nats, of disagreeing with all spatial neighbours; not negative."""
    bilateral_sxy: float
    """Standard deviation of the bilateral kernel in pixels; at least 0.1."""
    bilateral_srgb: float
    """Standard deviation of the bilateral kernel in grey levels; at least 0.1."""
    bilateral_weight: float
    """Energy, in nats, of disagreeing with all bilateral neighbours; not negative."""
    iterations: int
    """Mean field steps; 0 gives the scores' own softmax."""

    def shrunk(self, factor: int) -> "CrfPreset":
        """Return the same knobs for an image ``factor`` times smaller."""
        near, far = self.spatial_sxy / factor, self.bilateral_sxy / factor
        return self._replace(spatial_sxy=near, bilateral_sxy=far)


SEEDS = CrfPreset(3.0, 3.0, 80.0, 13.0, 10.0, 10)
"""Seeds made of class activation maps (PSA, SEAM, EPS)."""
IRN_LABELS = CrfPreset(3.0, 3.0, 50.0, 5.0, 10.0, 10)
"""Hard labels to train IRNet on; scores from `crf.scores_from_labels`."""
DEEPLAB = CrfPreset(1.0, 3.0, 67.0, 3.0, 4.0, 10)
"""Predictions of a segmenter; scores are its softmax."""
PRESETS: Mapping[str, CrfPreset] = MappingProxyType(
    {"seeds": SEEDS, "irnet": IRN_LABELS, "deeplab": DEEPLAB}
)


class Kernel(NamedTuple):
    """One Gaussian between all pairs of pixels."""

    weight: float
    """Energy, in nats, of disagreeing with all neighbours."""
    sxy: float
    """Standard deviation in pixels."""
    srgb: float | None
    """Standard deviation in grey levels; none: colours do not matter."""

    def features(
        self, image: UInt8[Tensor, "h w 3"]
    ) -> Float[Tensor, "d {image.shape[0]}*{image.shape[1]}"]:
        """Place, and colour if it matters, of each pixel in standard deviations."""
        height, width, _ = image.shape
        columns = torch.arange(width, device=image.device) / self.sxy
        rows = torch.arange(height, device=image.device) / self.sxy
        planes = [columns.expand(height, width), rows[:, None].expand(height, width)]
        if self.srgb is not None:
            planes += (image.permute(2, 0, 1) / self.srgb).unbind()
        return torch.stack(planes).flatten(1)


def kernels_of(preset: CrfPreset) -> list[Kernel]:
    """Return the kernels that weigh anything."""
    near = Kernel(preset.spatial_weight, preset.spatial_sxy, None)
    alike = Kernel(preset.bilateral_weight, preset.bilateral_sxy, preset.bilateral_srgb)
    return [kernel for kernel in (near, alike) if kernel.weight > 0]


def find_preset(preset: CrfPreset | str) -> CrfPreset:
    """Look a preset up by its name, and refuse knobs out of range.

    Raises:
        ValueError: If there is no such name, or a knob is out of its range.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            names = ", ".join(PRESETS)
            raise ValueError(f"preset must be one of {names}, got {preset!r}")
        return PRESETS[preset]
    for name in ("spatial_sxy", "bilateral_sxy", "bilateral_srgb"):
        value = getattr(preset, name)
        if not 0.1 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and at least 0.1, got {value}")
    for name in ("spatial_weight", "bilateral_weight", "iterations"):
        value = getattr(preset, name)
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and not negative, got {value}")
    return preset
