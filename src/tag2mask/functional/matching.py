"""What a model learns of which text goes with which image."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus


def is_said(
    texts: Bool[Tensor, "n v"], captions: Bool[Tensor, "b v"]
) -> Bool[Tensor, "b n"]:
    """Return which caption has all words of which text; one without words is in all.

    Args:
        texts: Which words each text has.
        captions: Which words each caption has.
    """
    absent = (~captions).float() @ texts.float().T
    return absent == 0


def matching_loss(
    logits: Float[Tensor, "b n"], matches: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    """Symmetric contrast of matches with what does not match (CLIP), several allowed.

    Each match of an image competes with the texts that do not match it, and never with
    another match; likewise the images of a text. So a text that is true of many images
    is drawn to each as strongly as one that is true of one. With one match each it is
    CLIP's loss. The mean is over the matches of each image, then over the images that
    have one; likewise over texts. With no match at all the loss is 0.

    Args:
        logits: Scaled similarities.
        matches: Which text is true of which image.
    """
    by_image = _contrast(logits, matches)
    by_text = _contrast(logits.T, matches.T)
    return (by_image + by_text) / 2


def _contrast(
    logits: Float[Tensor, "b n"], matches: Bool[Tensor, "b n"]
) -> Float[Tensor, ""]:
    lowest = torch.finfo(logits.dtype).min
    rivals = logits.masked_fill(matches, lowest).logsumexp(dim=1, keepdim=True)
    losses = softplus(rivals - logits).where(matches, 0.0).sum(dim=1)
    counts = matches.sum(dim=1)
    num_rows = (counts > 0).sum().clamp(min=1)
    return (losses / counts.clamp(min=1)).sum() / num_rows
