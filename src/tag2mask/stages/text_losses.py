"""The losses of voters that an image-text model teaches, on a batch of images."""

from collections.abc import Callable
from typing import assert_never, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from tag2mask import config
from tag2mask.engine.loop import Batch, Losses
from tag2mask.functional.clip_losses import (
    CaClWeights,
    ClimsWeights,
    PairCosines,
    ca_cl_losses,
    clims_losses,
)
from tag2mask.functional.image_text_pairs import (
    Pairs,
    choose_context,
    cosines,
    find_pairs,
    foreground_and_background,
    maps_of_pairs,
)
from tag2mask.models.backbones import Backbone
from tag2mask.models.image_text import ImageTextModel
from tag2mask.models.text_network import TextNetwork
from tag2mask.stages.prompts import TextVectors


def make_losses(
    voter: config.CaCl | config.Clims,
    teacher: ImageTextModel,
    vectors: TextVectors,
    backbone: Backbone,
) -> Callable[[nn.Module, Batch, int], Losses]:
    """Return the losses of maps on a batch, as the recipe asks.

    Args:
        voter: Which losses, and their knobs.
        teacher: Where the maps are trained.
        vectors: Likewise.
        backbone: Whose mean colour masked pixels have, if the recipe asks for it.
    """
    mean, std = (torch.tensor(each) for each in (teacher.mean, teacher.std))
    if voter.normalise == "imagenet":
        mean, std = backbone.mean, backbone.std
    mean, std = mean.reshape(3, 1, 1), std.reshape(3, 1, 1)

    def losses(network: nn.Module, batch: Batch, step: int) -> Losses:
        del step
        state = cast(TextNetwork, network)  # in the wrapping of the training loop
        images = batch["image"]
        maps = network(images)
        pairs = find_pairs(batch["tags"] > 0)
        side = teacher.image_size
        small = interpolate(
            images, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        pictures = foreground_and_background(
            (small - mean.to(small.device)) / std.to(small.device),
            maps_of_pairs(maps, pairs, size=side),
            pairs.images,
        )
        seen = encode(teacher, pictures, at_once=2 * voter.pairs_at_once)
        found, contexts = compare(seen, pairs, vectors)
        state.count_contexts(pairs.classes, contexts)
        gate = state.gate(found.foreground_to_backgrounds.detach(), pairs.classes)
        gate = gate * vectors.has_words[pairs.classes].unsqueeze(1)
        terms, watched = _weigh(voter, found, gate, maps)
        return Losses(terms, dict(watched) | state.gate.read()._asdict())

    return losses


def encode(
    teacher: ImageTextModel, pictures: Float[Tensor, "n 3 s s"], *, at_once: int
) -> Float[Tensor, "n d"]:
    """Encode pictures; more than ``at_once`` in turn, again when the gradient comes."""
    if len(pictures) <= at_once:
        return teacher.encode_images(pictures)
    parts = [
        checkpoint(teacher.encode_images, part, use_reentrant=False)
        for part in pictures.split(at_once)
    ]
    return torch.cat(parts)


def compare(
    seen: Float[Tensor, "q d"], pairs: Pairs, vectors: TextVectors
) -> tuple[PairCosines, Tensor]:
    """Compare foregrounds and backgrounds with their class in its best context.

    Returns:
        The cosines (CA-CL, eq. 4, 7, 9), and the context of each pair.
    """
    foreground, background = seen.chunk(2)
    to_class = cosines(foreground, vectors.contexts[pairs.classes])
    contexts = choose_context(to_class)
    place = contexts.unsqueeze(1)
    text = vectors.contexts[pairs.classes, contexts].unsqueeze(1)
    return PairCosines(
        to_class.gather(1, place).squeeze(1),
        cosines(background, text).squeeze(1),
        cosines(foreground, vectors.backgrounds[pairs.classes]),
    ), contexts


def _weigh(
    voter: config.CaCl | config.Clims,
    found: PairCosines,
    gate: Float[Tensor, "p l"],
    maps: Float[Tensor, "b t h w"],
) -> Losses:
    match voter:
        case config.CaCl():
            ca_cl = ca_cl_losses(
                found,
                gate,
                maps,
                weights=CaClWeights(**voter.loss_weights.model_dump()),
                margin=voter.margin,
                reduction=voter.reduction,
            )
            terms = ca_cl._asdict()
            return Losses(terms, {"active": terms.pop("active")})
        case config.Clims():
            clims = clims_losses(
                found,
                gate,
                maps,
                weights=ClimsWeights(**voter.loss_weights.model_dump()),
            )
            return Losses(clims._asdict(), {})
        case _:
            assert_never(voter)
