"""A dense CRF of hard labels, on the image or on a smaller one."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from tag2mask.functional.crf import PRESETS, dense_crf, scores_from_labels
from tag2mask.functional.shapes import IGNORE
from tag2mask.stages.seed import shrink_image


def smooth_labels(
    labels: UInt8[Tensor, "h w"],
    image: UInt8[Tensor, "h w 3"],
    *,
    preset: str,
    certainty: float,
    shrink: int,
    device: torch.device,
) -> UInt8[Tensor, "h w"]:
    """Let every pixel take the label that its neighbours of like colour have.

    Classes that no pixel has take no part. A pixel of 255 believes in all others alike
    and gets a label; a map of nothing else stays as it is.

    Args:
        labels: Class ids, or 255.
        image: The true RGB values.
        preset: Name of the CRF's knobs, which are told for the image's own size.
        certainty: Probability that a label is right, above 0 and at most 1.
        shrink: Labels and image are seen this many times smaller.
        device: Where the CRF runs.
    """
    class_ids: Tensor = labels[labels != IGNORE].unique()
    if not len(class_ids):
        return labels
    height, width = labels.shape
    small = -(-height // shrink), -(-width // shrink)
    fewer = functional.interpolate(labels[None, None], small, mode="nearest-exact")[0]
    # a class that a smaller map loses keeps its channel
    scores = scores_from_labels(fewer[0], class_ids.tolist(), certainty=certainty)
    marginals = dense_crf(
        scores.to(device),
        shrink_image(image, small),
        preset=PRESETS[preset].shrunk(shrink),
    )
    if small != (height, width):
        marginals = functional.interpolate(
            marginals[None], (height, width), mode="bilinear", align_corners=False
        )[0]
    return class_ids[marginals.max(dim=0).indices.cpu()]
