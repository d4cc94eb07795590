"""The losses of a segmenter on a batch, as the recipe asks."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Generator, Tensor, nn

from tag2mask import config
from tag2mask.engine.inference import views
from tag2mask.engine.loop import Batch, Losses
from tag2mask.functional.complements import draw_complement
from tag2mask.functional.noisy_losses import (
    background_shares,
    cross_entropy_loss,
    positive_negative_loss,
)
from tag2mask.functional.query_maps import semantic_logits
from tag2mask.functional.set_loss import OVERSAMPLING, Targets, draw_targets, set_loss
from tag2mask.functional.shapes import IGNORE
from tag2mask.functional.voting import is_clean
from tag2mask.models.deeplab import upsample
from tag2mask.models.transformer_segmenters import Queries

PixelLoss = Callable[[Float[Tensor, "b k h w"]], Losses]


def make_losses(
    settings: config.Segment, *, adjustment: Float[Tensor, "k"], random_seed: int
) -> Callable[[nn.Module, Batch, int], Losses]:
    """Return the losses of a segmenter on a batch, as the recipe asks.

    Args:
        settings: The loss and its knobs.
        adjustment: Added to the logits of each class (``logit_adjustment``).
        random_seed: Of the complements and of the points of masks.
    """
    warmup = round(settings.cross_entropy_share * settings.steps)

    def losses(network: nn.Module, batch: Batch, step: int) -> Losses:
        stride = settings.loss_stride
        middle = stride // 2  # of the pixels that one resized logit covers
        labels = batch["labels"][:, middle::stride, middle::stride]
        size = (labels.shape[-2], labels.shape[-1])
        chance = torch.Generator(labels.device)
        chance.manual_seed(random_seed * 1_000_003 + step)
        learn = (
            _cross_entropy_of(labels)
            if settings.loss == "cross_entropy" or step < warmup
            else _positive_negative_of(
                labels,
                batch["support"][:, middle::stride, middle::stride],
                batch["tags"],
                settings,
                chance,
            )
        )
        see = _seeing(network, batch, settings, chance)
        maps, terms = [], list[Losses]()
        for image in _sizes(batch["image"], settings.loss_scales):
            logits, beside = see(image)
            logits = upsample(logits.float(), size)
            maps.append(logits + adjustment.to(logits.device)[:, None, None])
            terms.append(beside)
        if len(maps) > 1:
            maps.append(torch.stack(maps).amax(dim=0))
        terms += [learn(logits) for logits in maps]
        shares = background_shares(maps[-1].detach(), labels)
        watched = {
            "background_predicted": shares.predicted,
            "background_labelled": shares.labelled,
        }
        return Losses(_sum(terms), watched | dict(terms[-1].watched))

    return losses


def _sizes(
    images: Float[Tensor, "b 3 h w"], scales: Sequence[float]
) -> Iterator[Float[Tensor, "b 3 sh sw"]]:
    """Yield the images at each scale."""
    for scale in scales:
        if scale == 1:
            yield images
        else:
            yield next(iter(views(images, scales=(scale,), flip=False)))[0]


def _sum(found: Sequence[Losses]) -> dict[str, Tensor]:
    """Add terms of one name."""
    terms: dict[str, Tensor] = {}
    for each in found:
        for name, value in each.terms.items():
            terms[name] = terms[name] + value if name in terms else value
    return terms


def _cross_entropy_of(labels: UInt8[Tensor, "b h w"]) -> PixelLoss:
    """Return what learns every label from logits."""
    return lambda logits: Losses(
        {"cross_entropy": cross_entropy_loss(logits, labels)}, {}
    )


def _positive_negative_of(
    labels: UInt8[Tensor, "b h w"],
    support: UInt8[Tensor, "b h w"],
    tags: Bool[Tensor, "b t"],
    settings: config.Segment,
    chance: Generator,
) -> PixelLoss:
    """Return what learns clean labels and unlearns complements of noisy ones."""
    complement = draw_complement(
        labels,
        num_classes=tags.shape[1] + 1,
        mode=settings.complement,
        tags=tags,
        num_complements=settings.num_complements,
        generator=chance,
    )
    clean = is_clean(support, min_support=settings.min_support)

    def learn(logits: Float[Tensor, "b k h w"]) -> Losses:
        loss = positive_negative_loss(
            logits,
            labels,
            clean,
            complement,
            tau=settings.tau,
            weight_from=settings.weight_from,
        )
        return Losses(
            {"positive": loss.positive, "negative": loss.negative},
            {
                "unweighted_positive": loss.unweighted_positive,
                "clean_share": loss.clean_share,
            },
        )

    return learn


def _seeing(
    network: nn.Module, batch: Batch, settings: config.Segment, chance: Generator
) -> Callable[[Tensor], tuple[Tensor, Losses]]:
    """Return what gives the logits of images, and losses of other than pixels."""
    if not isinstance(settings, config.Mask2Former):
        return lambda images: (network(images), Losses({}, {}))
    labels = batch["labels"]
    believed = labels != IGNORE
    if settings.loss == "positive_negative":
        believed &= is_clean(batch["support"], min_support=settings.min_support)
    targets = [
        draw_targets(
            each,
            where,
            num_points=OVERSAMPLING * settings.num_points,
            generator=chance,
        )
        for each, where in zip(labels, believed, strict=True)
    ]

    def see(images: Tensor) -> tuple[Tensor, Losses]:
        queries = network(images, as_queries=True)
        logits = semantic_logits(queries.classes[-1], queries.masks[-1])
        return logits, _set_losses(queries, targets, settings.set_weight)

    return see


def _set_losses(queries: Queries, targets: Sequence[Targets], weight: float) -> Losses:
    """Return the set loss, summed over the layers; none without weight."""
    layers = [
        Losses(set_loss(classes, masks, targets)._asdict(), {})
        for classes, masks in zip(queries.classes, queries.masks, strict=True)
    ]
    summed = _sum(layers) if weight else {}
    return Losses({f"set_{name}": weight * loss for name, loss in summed.items()}, {})
