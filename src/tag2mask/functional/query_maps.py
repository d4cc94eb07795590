"""From a set of masks with classes to one map of class scores."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from tag2mask.functional.precision import at_least_float32

LEAST_SHARE = 1e-6
"""Added to a class's share before its logarithm, which it keeps above -13.9."""


def semantic_shares(
    class_logits: Float[Tensor, "b q classes"], mask_logits: Float[Tensor, "b q h w"]
) -> Float[Tensor, "b k h w"]:
    """Return each class's share of a pixel among the masks that claim it.

    ``S_k = sum_q softmax(c_q)_k sigmoid(m_q)`` over its sum over k (MaskFormer, Cheng
    et al., NeurIPS 2021, section 3.4, there without the division). The last class of
    ``class_logits`` is "no object": it takes part in the softmax and is dropped, hence
    k is one less. Where every mask is all but empty, or every query all but "no
    object", the shares are those of the limit, never 0 / 0.

    Args:
        class_logits: Of each query, "no object" last; computed in float32 at least.
        mask_logits: Of each query and pixel.
    """
    scores = at_least_float32(class_logits).log_softmax(dim=-1)[..., :-1]
    masks = logsigmoid(at_least_float32(mask_logits))
    # what is divided out again: the largest class of a query, the largest query of a
    # pixel; without it both factors may be too small for any float
    claim = scores.detach().amax(dim=-1)
    largest = (claim[..., None, None] + masks.detach()).amax(dim=1, keepdim=True)
    classes = (scores - claim[..., None]).exp()
    weights = (masks + claim[..., None, None] - largest).exp()
    summed = torch.einsum("bqk,bqhw->bkhw", classes.to(weights.dtype), weights)
    return summed / summed.sum(dim=1, keepdim=True)


def semantic_logits(
    class_logits: Float[Tensor, "b q classes"], mask_logits: Float[Tensor, "b q h w"]
) -> Float[Tensor, "b k h w"]:
    """Return ``log(S_k + 1e-6)`` of ``semantic_shares``, less its mean over k.

    Losses that stretch logits to length one see where they lie, not only how they
    differ; the mean over classes is taken off so that they lie about zero [ours].
    """
    # products of half precision would be summed in it
    with torch.autocast(mask_logits.device.type, enabled=False):
        logs = (semantic_shares(class_logits, mask_logits) + LEAST_SHARE).log()
    return logs - logs.mean(dim=1, keepdim=True)
