"""Pairs of an image and a class that it shows: their pictures, and how texts fit them.

Axes: ``p`` pairs, ``m`` contexts, ``l`` background prompts of a class, ``d`` the space
that images and texts share, ``s`` the side of the image-text model's input. All works
with no pair at all.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import cosine_similarity, interpolate

from tag2mask.functional.precision import at_least_float32


class Pairs(NamedTuple):
    """Images with one class each that they show, by image and then by class.

    Attributes:
        images: Position of the image in the batch.
        classes: Position of the class among the object classes.
    """

    images: Int64[Tensor, "p"]
    classes: Int64[Tensor, "p"]


def find_pairs(tags: Bool[Tensor, "b t"]) -> Pairs:
    """List all images with all classes that they show, by image and then by class."""
    images, classes = tags.nonzero(as_tuple=True)
    return Pairs(images, classes)


def maps_of_pairs(
    maps: Float[Tensor, "b t h w"], pairs: Pairs, *, size: int
) -> Float[Tensor, "p {size} {size}"]:
    """Return each pair's own map, resized bilinearly between pixel centres.

    Args:
        maps: Of probabilities, one per object class (CA-CL, eq. 1).
        pairs: Which to take.
        size: Side of the result, in pixels.
    """
    chosen = maps[pairs.images, pairs.classes].unsqueeze(1)
    return interpolate(
        chosen, size=(size, size), mode="bilinear", align_corners=False
    ).squeeze(1)


def foreground_and_background(
    images: Float[Tensor, "i 3 s s"],
    probabilities: Float[Tensor, "p s s"],
    image_of_pair: Int64[Tensor, "p"],
) -> Float[Tensor, "2*p 3 s s"]:
    """Fade out what is not the class, and what is (CA-CL, eq. 2).

    Args:
        images: Already normalised for the image-text model, so that what is masked is
            0: that model's mean colour.
        probabilities: Of each pair's class, in [0, 1].
        image_of_pair: Position of each pair's image.

    Returns:
        The foregrounds ``X P`` of all pairs, then their backgrounds ``X (1 - P)``: one
        batch for the encoder.
    """
    p = probabilities.unsqueeze(1)
    chosen = images[image_of_pair]
    return torch.cat([chosen * p, chosen * (1 - p)])


def cosines(
    images: Float[Tensor, "p d"], texts: Float[Tensor, "p n d"]
) -> Float[Tensor, "p n"]:
    """Cosine of each pair's image with each of its texts (CA-CL, eq. 4, 7 and 9).

    A vector of zeros has cosine 0 with all.

    Args:
        images: One vector per pair, of any length.
        texts: n vectors per pair, of any length.
    """
    return cosine_similarity(
        at_least_float32(images).unsqueeze(1), at_least_float32(texts), dim=2
    )


def choose_context(similarities: Float[Tensor, "p m"]) -> Int64[Tensor, "p"]:
    """Choose the context closest to each foreground, the first of equals (CA-CL, 3.2).

    Args:
        similarities: Of the foreground to its class in each of m >= 1 contexts.
    """
    return similarities.detach().argmax(dim=1)
