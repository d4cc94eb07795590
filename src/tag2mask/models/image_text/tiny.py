"""A small two-tower image-text model: convolutions and a bag of words.

Both towers add up: an image is the mean over places of what is seen there, a text the
sum of its words, of which those that name nothing count a tenth. So a prompt of one
word points at what the word adds to a caption.

The shipped weights know the captions of the toy world and nothing else; the command
``python tools/train_tiny.py`` makes them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from tag2mask.artifacts.files import file_digest, read_json, write_json
from tag2mask.errors import ModelError
from tag2mask.models.weights import load_module, save_module

CARD = "model.json"
WEIGHTS = "weights.safetensors"
IMAGE_SIZE = 64
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PADDING, UNKNOWN = 0, 1
"""Numbers that are no word: after the end of a text, and every unknown word."""
_FILLER_WEIGHT = 0.1
SHIPPED = Path(__file__).parent / "tiny_weights"
_NEEDED = {"words", "widths", "dimensions", "image_size", "mean", "std"}
_WIDTHS = (24, 48, 96, 96, 128)
_STRIDES = (2, 2, 2, 1, 1)
_DIMENSIONS = 64
_START_SCALE = 10.0
_WORD_STD = 0.02
_MOST_SCALE = 20.0
_WORD = re.compile(r"[^\W_]+")
_PLURAL = re.compile(r"(?<=\w\w[^\Wsui])s$")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, plurals without their ``s``.

    Only an ``s`` after three characters of which the last is none of s, u, i is taken
    off: "boats" is "boat", "grass" and "bus" stay.
    """
    return [_PLURAL.sub("", word) for word in _WORD.findall(text.lower())]


FILLERS = frozenset(
    words_of(
        "a an and are at beside by for from has have image in is it near next of on "
        "one or over photo picture see show shown snapshot that the there this three "
        "to two under we with"
    )
)
"""Words that name nothing."""


class Vocabulary:
    """The words that a text tower knows, each with a number from 2 on.

    Args:
        words: As ``words_of`` gives them.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = tuple(sorted(set(words)))
        self._numbers = {word: number for number, word in enumerate(self.words, 2)}

    def __len__(self) -> int:
        """Count the words, padding and the unknown word included."""
        return len(self.words) + 2

    def numbers(self, text: str) -> list[int]:
        """Return the words' numbers; a text without any word is one unknown word."""
        found = [self._numbers.get(word, UNKNOWN) for word in words_of(text)]
        return found or [UNKNOWN]

    def tokens(self, texts: Sequence[str]) -> Int64[Tensor, "n l"]:
        """Return the words' numbers of all texts, padded to the longest."""
        numbers = [self.numbers(text) for text in texts]
        longest = max(map(len, numbers), default=1)
        rows = [each + [PADDING] * (longest - len(each)) for each in numbers]
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), longest)


def _weight(word: str) -> float:
    return _FILLER_WEIGHT if word in FILLERS else 1.0


class TinyTowers(nn.Module):
    """Both towers and the temperature, to be trained.

    Args:
        vocabulary: The words that it learns.
        widths: Channels of each of the five convolutions.
        dimensions: Of the vectors.
    """

    _weights: Tensor

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        widths: Sequence[int] = _WIDTHS,
        dimensions: int = _DIMENSIONS,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.dimensions = dimensions
        layers: list[nn.Module] = []
        inputs = 3
        for width, stride in zip(widths, _STRIDES, strict=True):
            layers += [
                nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.projection = nn.Linear(inputs, dimensions)
        self.words = nn.Embedding(len(vocabulary), dimensions, padding_idx=PADDING)
        with torch.no_grad():
            # so small that what a word means soon outweighs what chance gave it
            self.words.weight *= _WORD_STD
        weights = torch.tensor([0.0, 1.0, *map(_weight, vocabulary.words)])
        self.register_buffer("_weights", weights[:, None], persistent=False)
        self.log_scale = nn.Parameter(torch.tensor(_START_SCALE).log())

    @property
    def scale(self) -> Float[Tensor, ""]:
        """What similarities are multiplied by: one over the temperature."""
        return self.log_scale.exp().clamp(max=_MOST_SCALE)

    def image_vectors(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Return unit vectors of normalised images."""
        pooled = self.features(images).mean(dim=(2, 3))
        return functional.normalize(self.projection(pooled), dim=1)

    def place_vectors(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b d gh gw"]:
        """Return vectors of places; their mean has the direction of the image's."""
        features = self.features(images)
        places: Tensor = self.projection(features.movedim(1, -1))
        return places.movedim(-1, 1)

    def text_vectors(self, tokens: Int64[Tensor, "n l"]) -> Float[Tensor, "n d"]:
        """Return unit vectors of the words' numbers."""
        weighted = self.words(tokens) * self._weights[tokens]
        return functional.normalize(weighted.sum(dim=1), dim=1)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], tokens: Int64[Tensor, "n l"]
    ) -> Float[Tensor, "b n"]:
        """Return the similarity of each image to each text, over the temperature."""
        return self.scale * self.image_vectors(images) @ self.text_vectors(tokens).T


class TinyImageText(nn.Module):
    """Trained towers as an image-text model: frozen, always in evaluation mode.

    Args:
        towers: Trained.
        vocabulary: That they were trained with.
        identity: Names them in caches and protocols.
    """

    def __init__(
        self, towers: TinyTowers, vocabulary: Vocabulary, identity: str
    ) -> None:
        super().__init__()
        self.image_size = IMAGE_SIZE
        self.mean = MEAN
        self.std = STD
        self.identity = identity
        self._towers = towers.requires_grad_(False)
        self._vocabulary = vocabulary
        self.eval()

    def train(self, mode: bool = True) -> "TinyImageText":  # noqa: ARG002
        """Stay in evaluation mode, whatever is asked for."""
        return super().train(False)

    def encode_images(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return unit vectors of normalised images, differentiable in the images.

        Computed in float32, also where autocast is on.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self._towers.image_vectors(images.float())

    def encode_dense(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b d gh gw"]:
        """Return vectors of places, of which an image is the mean; a grid of stride 8.

        Computed in float32, also where autocast is on.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self._towers.place_vectors(images.float())

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit vectors of texts, blind to the order of words and to plurals.

        Words that no training caption had share one vector.
        """
        device = self._towers.log_scale.device
        return self._towers.text_vectors(self._vocabulary.tokens(texts).to(device))


def write_tiny_card(
    folder: Path, towers: TinyTowers, vocabulary: Vocabulary, notes: Mapping[str, Any]
) -> None:
    """Write what ``load_tiny`` needs beside the weights, and how they came to be."""
    write_json(
        folder / CARD,
        {
            "image_size": IMAGE_SIZE,
            "mean": MEAN,
            "std": STD,
            "widths": towers.widths,
            "dimensions": towers.dimensions,
            "words": vocabulary.words,
            **notes,
        },
    )


def save_tiny_weights(folder: Path, towers: TinyTowers) -> None:
    """Write the weights of trained towers."""
    save_module(towers, folder / WEIGHTS)


def load_tiny(folder: Path | None = None) -> TinyImageText:
    """Load the tiny image-text model of a folder; without one, the shipped model.

    Raises:
        ModelError: If the folder holds no such model or its weights do not fit.
    """
    folder = folder or SHIPPED
    if not (folder / CARD).exists() or not (folder / WEIGHTS).exists():
        raise ModelError(
            f"{folder} holds no tiny image-text model: expected {CARD} and {WEIGHTS} "
            f"in it"
        )
    card = read_json(folder / CARD)
    missing = _NEEDED - set(card if isinstance(card, dict) else ())
    if missing:
        raise ModelError(
            f"{folder / CARD} is no card of a tiny image-text model: it lacks "
            f"{', '.join(sorted(missing))}"
        )
    vocabulary = Vocabulary(card["words"])
    towers = TinyTowers(
        vocabulary, widths=card["widths"], dimensions=card["dimensions"]
    )
    load_module(towers, folder / WEIGHTS, name="a tiny image-text model")
    return TinyImageText(
        towers, vocabulary, f"tiny {file_digest(folder / WEIGHTS)[:12]}"
    )
