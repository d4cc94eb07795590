"""Propose background words of classes that nobody knows words of."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from tag2mask.artifacts.tables import ImageRecord, Index
from tag2mask.data.classes import TEMPLATES, ClassPrompts, read_vocabulary
from tag2mask.data.classes.endpoint import Endpoint, ask_words
from tag2mask.data.classes.proposals import propose_words
from tag2mask.data.images import read_indexed
from tag2mask.engine.inference import to_batch
from tag2mask.engine.map_images import read_ahead
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.word_ranking import WordContrast
from tag2mask.models.image_text import ImageTextModel
from tag2mask.stages.training import multi_hot

_BATCH = 32

Proposed = tuple[tuple[str, ...], ...]


def suggest(
    classes: Sequence[ClassPrompts], propose: Callable[[], Proposed]
) -> tuple[ClassPrompts, ...]:
    """Give words to the classes that have none; the others keep theirs.

    Args:
        classes: All of the data.
        propose: Words for each class; not called if none is wanted.
    """
    if all(each.background for each in classes):
        return tuple(classes)
    proposed = propose()
    return tuple(
        each if each.background else replace(each, background=words)
        for each, words in zip(classes, proposed, strict=True)
    )


def propose_from_images(
    index: Index,
    teacher: ImageTextModel,
    classes: Sequence[ClassPrompts],
    *,
    num_words: int,
    runtime: Runtime,
) -> Proposed:
    """Rank the shipped vocabulary by how it fits the images of a class against others.

    Memory does not grow with the number of images.
    """
    words = read_vocabulary()
    texts = teacher.encode_texts([TEMPLATES[0].format(word) for word in words])
    contrast = WordContrast(len(classes), len(words))
    images = index.split("train")
    batches = [
        images[first : first + _BATCH] for first in range(0, len(images), _BATCH)
    ]

    def read(batch: Sequence[ImageRecord]) -> list[Tensor]:
        return [_square(index, image, teacher) for image in batch]

    with (
        runtime.progress.task("words", len(images)) as advance,
        torch.inference_mode(),
    ):
        for batch, pictures in read_ahead(read, batches):
            seen = teacher.encode_images(torch.stack(pictures).to(runtime.device))
            tags = [multi_hot(image.tags, index.num_classes) > 0 for image in batch]
            contrast.add(
                seen.cpu() @ texts.cpu().T, torch.stack([*map(torch.from_numpy, tags)])
            )
            advance(len(batch))
    return propose_words(contrast, words, classes, num_words=num_words)


def propose_from_endpoint(
    endpoint: Endpoint,
    classes: Sequence[ClassPrompts],
    *,
    num_words: int,
    runtime: Runtime,
) -> Proposed:
    """Ask a chat model for the words of each class without any (CA-CL, section 3.4)."""
    wanted = [each for each in classes if not each.background]
    found = {}
    with runtime.progress.task("words", len(wanted)) as advance:
        for each in wanted:
            found[each.tag] = ask_words(endpoint, each, classes, num_words=num_words)
            advance(1)
    return tuple(found.get(each.tag, ()) for each in classes)


def _square(
    index: Index, image: ImageRecord, teacher: ImageTextModel
) -> Float[Tensor, "3 s s"]:
    """Return an image as the model wants it, squeezed to a square and normalised."""
    pixels = torch.from_numpy(read_indexed(index, image))
    side = (teacher.image_size, teacher.image_size)
    small = interpolate(
        to_batch([pixels], torch.device("cpu")),
        side,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    mean, std = (
        torch.tensor(each).view(3, 1, 1) for each in (teacher.mean, teacher.std)
    )
    return ((small - mean) / std)[0]
