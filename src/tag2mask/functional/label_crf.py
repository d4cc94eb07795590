"""Hard labels moved to the edges of their image by a dense CRF."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from tag2mask.functional.crf import IRN_LABELS, CrfPreset, dense_crf, label_scores
from tag2mask.functional.shapes import IGNORE


def smooth_labels(
    labels: UInt8[Tensor, "h w"],
    image: UInt8[Tensor, "h w 3"],
    *,
    preset: CrfPreset = IRN_LABELS,
    certainty: float = 0.7,
) -> UInt8[Tensor, "h w"]:
    """Let every pixel take the label that its neighbours of like colour have.

    Classes that no pixel has take no part. A pixel of ``IGNORE`` (255) believes in all
    others alike and gets a label; a map of nothing else stays as it is. A tie goes to
    the lowest class id.

    Args:
        labels: Class ids, or ``IGNORE``.
        image: The true RGB values.
        preset: Knobs of the CRF.
        certainty: Probability that a label is right, above 0 and at most 1; the other
            classes share the rest.
    """
    class_ids: Tensor = labels[labels != IGNORE].unique()  # ascending
    if len(class_ids) == 0:
        return labels.clone()
    places = torch.searchsorted(class_ids.long(), labels.long())
    places[labels == IGNORE] = IGNORE
    scores = label_scores(places, num_classes=len(class_ids), certainty=certainty)
    marginals = dense_crf(scores, image, preset=preset)
    return class_ids[marginals.argmax(dim=0)]
