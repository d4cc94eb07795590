"""Complementary labels: what a doubtful pixel is taught not to be."""

from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Int64, Integer
from torch import Generator, Tensor

from tag2mask.functional.shapes import IGNORE

ComplementMode = Literal["random", "assigned", "absent", "both"]


def draw_complement(
    labels: Integer[Tensor, "b h w"],
    *,
    num_classes: int,
    mode: ComplementMode,
    tags: Bool[Tensor, "b t"] | None = None,
    num_complements: int = 1,
    generator: Generator | None = None,
) -> Int64[Tensor, "b n h w"]:
    """Choose the classes that a pixel is taught not to be (multi-seed, section 2.4).

    ``IGNORE`` where the label is, and where no class fits.

    Args:
        labels: Class of each pixel, or ``IGNORE``.
        num_classes: Classes of the data set, background included.
        mode: ``random`` draws evenly from the classes other than the label (the
            paper's text); ``assigned`` is the label itself (half of the paper's
            English abstract); ``both`` is one of each, hence 2n maps; ``absent``
            draws evenly from the object classes that the image's tags rule out,
            which is never wrong, and is ``IGNORE`` if they rule out none.
        tags: Which objects each image shows, background not among them. For
            ``absent`` only.
        num_complements: Independent draws n; ``assigned`` repeats itself.
        generator: Source of randomness, on the device of the labels.

    Raises:
        ValueError: If there are fewer than two classes or one draw, or if ``absent``
            lacks tags for all classes but background.
    """
    if num_classes < 2 or num_complements < 1:
        raise ValueError(
            "expected at least 2 classes and 1 complement, "
            f"got {num_classes} and {num_complements}"
        )
    shape = (len(labels), num_complements, *labels.shape[1:])
    label = labels.long().unsqueeze(1).expand(shape)
    match mode:
        case "random":
            return _draw_other(label, num_classes, generator)
        case "assigned":
            return label
        case "both":
            return torch.cat([_draw_other(label, num_classes, generator), label], dim=1)
        case "absent":
            if tags is None or tags.shape[1] != num_classes - 1:
                raise ValueError(
                    f"absent complements need the tags of {num_classes - 1} object "
                    f"classes, got {'none' if tags is None else tags.shape[1]}"
                )
            return _draw_absent(label, tags, generator)
        case _:
            assert_never(mode)


def _draw_other(
    label: Int64[Tensor, "b n h w"], num_classes: int, generator: Generator | None
) -> Int64[Tensor, "b n h w"]:
    draw = torch.randint(
        num_classes - 1, label.shape, generator=generator, device=label.device
    )
    return (draw + (draw >= label)).masked_fill_(label == IGNORE, IGNORE)


def _draw_absent(
    label: Int64[Tensor, "b n h w"],
    tags: Bool[Tensor, "b t"],
    generator: Generator | None,
) -> Int64[Tensor, "b n h w"]:
    absent_first = tags.byte().argsort(dim=1, stable=True) + 1  # 0 is background
    num_absent = (~tags).sum(dim=1).view(-1, 1, 1, 1)
    draw = torch.rand(label.shape, generator=generator, device=label.device)
    place = (draw * num_absent).long().clamp_max(num_absent - 1).clamp_min(0)
    absent = absent_first.gather(1, place.flatten(1)).view_as(place)
    return absent.masked_fill_((label == IGNORE) | (num_absent == 0), IGNORE)
