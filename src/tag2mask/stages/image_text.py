"""Stage image_text: train a tiny image-text model on images and their captions."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.data.augment import Augmentation
from tag2mask.data.captions import Captioned
from tag2mask.data.images import read_image
from tag2mask.data.sampling import Sample, Tickets
from tag2mask.engine.loop import CHECKPOINT, Batch, Learner, Length, Losses, fit
from tag2mask.engine.optimizers import RateFactors, make_optimizer, make_schedule
from tag2mask.engine.runtime import Runtime
from tag2mask.functional.matching import is_said, matching_loss
from tag2mask.models.image_text.tiny import (
    FILLERS,
    IMAGE_SIZE,
    MEAN,
    PADDING,
    STD,
    UNKNOWN,
    WEIGHTS,
    TinyTowers,
    Vocabulary,
    save_tiny_weights,
    words_of,
    write_tiny_card,
)
from tag2mask.stages.training import seed_everything

_PROMPTS = (
    "{}",
    "a photo of {}.",
    "an image of {}.",
    "a picture of {}.",
    "a snapshot of {}.",
)
_UNKNOWN_SHARE = 0.02
_GRID = 4


@dataclass(frozen=True)
class TinyTraining:
    """How long and how a tiny image-text model is trained.

    Attributes:
        steps: Of the optimiser, AdamW with a cosine schedule.
        batch: Pairs per step.
        num_texts: Texts drawn from the caption of each pair.
        learning_rate: The highest.
        weight_decay: Of all weights.
        warmup: Steps up to the highest learning rate.
        whole_share: Share of texts that are a whole caption; others are a few words.
        mask_share: Share of images that are dimmed in places towards the mean colour.
        rescale: Least and greatest side of the whole image in the training square,
            which it overlaps at random.
        colour_jitter: Greatest relative change of brightness, contrast, saturation.
    """

    steps: int = 2000
    batch: int = 64
    num_texts: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    warmup: int = 50
    whole_share: float = 0.3
    mask_share: float = 0.4
    rescale: tuple[float, float] = (0.8, 1.4)
    colour_jitter: float = 0.1


def run(
    pairs: Sequence[Captioned],
    settings: TinyTraining,
    folder: Path,
    *,
    random_seed: int,
    runtime: Runtime,
    command: str,
) -> None:
    """Train on pairs; write weights, model.json and log.csv, which ``load_tiny`` reads.

    Nothing is trained if the weights are there.

    Args:
        pairs: Images and captions, at least one.
        settings: How long and how.
        folder: Where the model goes.
        random_seed: Of weights, order, augmentation and texts.
        runtime: Where to train.
        command: What trains it, for its card.

    Raises:
        DatasetError: If an image cannot be read.
        TrainingError: If the loss is not finite.
    """
    seed_everything(random_seed)
    texts = [prompt.format("") for prompt in _PROMPTS]
    texts += [pair.caption for pair in pairs]
    vocabulary = Vocabulary(word for text in texts for word in words_of(text))
    towers = TinyTowers(vocabulary)
    groups = group_by_contents(pairs)
    notes = {
        "command": command,
        "num_pairs": len(pairs),
        "random_seed": random_seed,
        "training": asdict(settings),
    }
    write_tiny_card(folder, towers, vocabulary, notes)
    if not (folder / WEIGHTS).exists():
        fit(
            _learner(towers, settings),
            Tickets(
                _drawing(groups, vocabulary, settings),
                num_images=len(groups),
                random_seed=random_seed,
            ),
            Length(settings.steps, settings.batch, None, "32"),
            folder=folder,
            runtime=runtime,
        )
        save_tiny_weights(folder, towers)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _learner(towers: TinyTowers, settings: TinyTraining) -> Learner:
    optimizer = make_optimizer(
        towers,
        kind="adamw",
        learning_rate=settings.learning_rate,
        factors=RateFactors(head=1.0),
        momentum=0.0,
        weight_decay=settings.weight_decay,
    )
    schedule = make_schedule(
        optimizer,
        kind="cosine",
        steps=settings.steps,
        power=1.0,
        warmup=settings.warmup,
    )
    return Learner(towers, _losses, optimizer, schedule)


def _losses(towers: nn.Module, batch: Batch, step: int) -> Losses:  # noqa: ARG001
    """Match each image with the texts of the batch that its caption contains."""
    logits = towers(batch["image"], batch["tokens"].flatten(0, 1))
    matches = is_said(batch["asked"].flatten(0, 1), batch["said"])
    scale = cast(Tensor, towers.scale)
    return Losses({"matching": matching_loss(logits, matches)}, {"scale": scale})


def group_by_contents(pairs: Sequence[Captioned]) -> list[list[Captioned]]:
    """Put the pairs together whose captions name the same.

    Training draws all groups equally often. Things that mostly come together, such as
    a train and its rails, would else be one thing to a model of captions.
    """
    groups: dict[frozenset[str], list[Captioned]] = {}
    for pair in pairs:
        contents = frozenset(words_of(pair.caption)) - FILLERS
        groups.setdefault(contents, []).append(pair)
    return list(groups.values())


def _drawing(
    groups: Sequence[Sequence[Captioned]],
    vocabulary: Vocabulary,
    settings: TinyTraining,
) -> Callable[[int, Generator], Sample]:
    """Return what draws a pair: an image in a random view, a text from its caption."""
    side = 2 * IMAGE_SIZE
    low, high = settings.rescale
    augment = Augmentation(
        crop=IMAGE_SIZE,
        rescale=(low / 2, high / 2),
        colour_jitter=settings.colour_jitter,
        fill=MEAN,
    )
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    longest = max(len(words_of(pair.caption)) for group in groups for pair in group)
    longest += max(len(words_of(prompt)) for prompt in _PROMPTS)

    def draw(number: int, rng: Generator) -> Sample:
        group = groups[number]
        pair = group[int(rng.integers(len(group)))]
        picture = Image.fromarray(read_image(pair.path))
        square = picture.resize((side, side), Image.Resampling.BILINEAR)
        image, _ = augment(np.array(square), [], [], rng)
        image = (image - mean) / std
        if rng.random() < settings.mask_share:
            image = image * draw_mask(rng, IMAGE_SIZE)
        texts = [
            draw_text(pair.caption, rng, whole_share=settings.whole_share)
            for _ in range(settings.num_texts)
        ]
        tokens = np.full((settings.num_texts, longest), PADDING)
        for row, text in zip(tokens, texts, strict=True):
            numbers = vocabulary.numbers(text)
            row[: len(numbers)] = numbers
        is_lost = rng.random(tokens.shape) < _UNKNOWN_SHARE
        tokens[is_lost & (tokens != PADDING)] = UNKNOWN
        return {
            "image": image,
            "tokens": tokens,
            "asked": np.stack([_contents(text, vocabulary) for text in texts]),
            "said": _contents(pair.caption, vocabulary),
        }

    return draw


def _contents(text: str, vocabulary: Vocabulary) -> Bool[np.ndarray, " v"]:
    """Return which words of the vocabulary a text has, fillers aside."""
    has_word = np.zeros(len(vocabulary), np.bool_)
    words = " ".join(word for word in words_of(text) if word not in FILLERS)
    has_word[vocabulary.numbers(words) if words else []] = True
    return has_word


def draw_text(caption: str, rng: Generator, *, whole_share: float) -> str:
    """Draw a text that is true if the caption is: all of it, or a few of its words.

    A few words begin with one that names something and go on for as long as a coin
    falls heads; they stand in a random prompt. A caption of fillers stays whole.

    Args:
        caption: What is said of an image.
        rng: The only source of chance.
        whole_share: Probability of the whole caption.
    """
    words = words_of(caption)
    starts = [i for i, word in enumerate(words) if word not in FILLERS]
    if rng.random() < whole_share or not starts:
        return caption
    start = int(rng.choice(starts))
    few = words[start : start + int(rng.geometric(0.5))]
    return str(rng.choice(_PROMPTS)).format(" ".join(few))


def draw_mask(rng: Generator, size: int) -> Float[Tensor, "{size} {size}"]:
    """Draw a smooth mask in [0, 1] of random softness that is mostly near 1 or 0."""
    shape = (1, 1, _GRID, _GRID)
    noise = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    smooth = functional.interpolate(noise, (size, size), mode="bicubic")[0, 0]
    hardness, level = rng.uniform(2, 20), rng.uniform(-1, 0.3)
    return torch.sigmoid(hardness * (smooth - level))
