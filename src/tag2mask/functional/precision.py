"""How exactly losses are computed, whatever their inputs are."""

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return half precision as float32, all else as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
