"""Stage prompts: what an image-text model is asked, encoded once."""

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, assert_never

import torch
from jaxtyping import Bool, Float
from safetensors.torch import load_file, save
from torch import Tensor

from tag2mask import config
from tag2mask.artifacts.files import content_digest, read_json, whole_file, write_json
from tag2mask.data.classes import (
    ClassPrompts,
    background_prompts,
    context_prompts,
    describe_classes,
    read_class_prompts,
)
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import DatasetError
from tag2mask.models.image_text import (
    DenseImageTextModel,
    ImageTextModel,
    make_image_text_model,
)
from tag2mask.models.text_maps import TextMaps, class_texts

VERSION = 1
PROMPTS = "prompts.json"
VECTORS = "vectors.safetensors"


class TextVectors(NamedTuple):
    """Unit vectors of all prompts.

    Attributes:
        contexts: Of each class in each context.
        backgrounds: Of each class's background prompts; zeros where it has none.
        has_words: Whether a class has background words.
        templates: The contexts.
    """

    contexts: Float[Tensor, "k m d"]
    backgrounds: Float[Tensor, "k l d"]
    has_words: Bool[Tensor, "k"]
    templates: tuple[str, ...]

    @property
    def num_contexts(self) -> int:
        """Contexts to choose from."""
        return self.contexts.shape[1]

    def to(self, device: torch.device) -> "TextVectors":
        """Return a copy on a device."""
        return TextVectors(
            self.contexts.to(device),
            self.backgrounds.to(device),
            self.has_words.to(device),
            self.templates,
        )


def run(
    class_names: Sequence[str],
    table: config.Prompts,
    model: config.ImageText,
    folder: Path,
    *,
    runtime: Runtime,
) -> None:
    """Encode the prompts of all classes; write prompts.json and vectors.safetensors.

    A class with fewer background words than others has them again from the first, so
    that all have as many prompts; one without any is told, and nothing is suppressed.

    Args:
        class_names: Background first.
        table: Names, templates and number of words.
        model: Encodes them.
        folder: Where they go.
        runtime: Where to encode.
    """
    texts = describe(class_names, table)
    silent = [each.tag for each in texts if not each.background]
    if silent:
        runtime.progress.say(
            f"warning: no background words are known of {', '.join(silent)}: nothing "
            f"is suppressed there; name some in prompts.classes"
        )
    asked = {each.tag: _prompts_of(each, table) for each in texts}
    vectors = _encode(asked, model, runtime)
    with whole_file(folder / VECTORS) as scratch:
        scratch.write_bytes(save(vectors))
    write_json(folder / PROMPTS, {"templates": table.templates, "classes": asked})


def describe(
    class_names: Sequence[str], table: config.Prompts
) -> tuple[ClassPrompts, ...]:
    """Return what an image-text model is told of each class."""
    known = describe_classes(class_names, preset=table.names)
    if table.classes is None:
        return known
    return read_class_prompts(Path(table.classes), known)


def read_vectors(folder: Path) -> TextVectors:
    """Read the vectors of a finished folder."""
    found = load_file(folder / VECTORS)
    return TextVectors(
        found["contexts"],
        found["backgrounds"],
        found["has_words"],
        tuple(read_json(folder / PROMPTS)["templates"]),
    )


def prompt_settings(table: config.Prompts) -> dict[str, Any]:
    """Return the knobs of prompts, a file of classes counting by its content.

    Raises:
        DatasetError: If that file is missing.
    """
    settings = table.model_dump(mode="json")
    if table.classes is not None:
        path = Path(table.classes)
        if not path.is_file():
            raise DatasetError(f"there is no file {path.absolute()} (prompts.classes)")
        settings["classes"] = content_digest(path)
    return settings


def image_text_settings(model: config.ImageText) -> dict[str, Any]:
    """Return the knobs of an image-text model; local files count by their content."""
    settings = model.model_dump(mode="json")
    for key in ("model", "weights", "class_names", "sentences", "folder"):
        if (name := settings.get(key)) and Path(name).exists():
            settings[key] = content_digest(Path(name))
    return settings


def open_image_text(model: config.ImageText, *, device: torch.device) -> ImageTextModel:
    """Load the image-text model of a recipe, frozen."""
    teacher = make_image_text_model(
        model.adapter, **model.model_dump(exclude={"adapter"})
    )
    return teacher.to(device)


def open_text_maps(vectors: TextVectors, voter: config.TextCam) -> TextMaps:
    """Return the activation maps of a recipe's texts, frozen.

    Raises:
        ModelError: If the image-text model cannot be had.
    """
    model = open_image_text(voter.image_text, device=vectors.contexts.device)
    if not isinstance(model, DenseImageTextModel):
        raise TypeError(f"{model.identity} cannot tell what is where")
    texts = class_texts(
        vectors.contexts,
        vectors.backgrounds,
        vectors.has_words,
        suppress_words=voter.suppress_words,
    )
    return TextMaps(model, texts)


def teacher_name(model: config.ImageText) -> str:
    """Name an image-text model as a score's protocol does, without folders."""
    match model:
        case config.ClipModel() | config.OpenClipModel():
            return f"{model.adapter} {_short(model.model)}"
        case config.ConseModel():
            return f"conse {model.variant} {model.backbone}"
        case config.TinyModel():
            return "tiny" if model.folder is None else f"tiny {_short(model.folder)}"
        case _:
            assert_never(model)


def _short(name: str) -> str:
    return Path(name).name if Path(name).is_dir() else name


def _prompts_of(each: ClassPrompts, table: config.Prompts) -> dict[str, list[str]]:
    """Return a class's prompts, background words repeated up to their number."""
    words = list(islice(cycle(each.background), table.words))
    return {
        "contexts": list(context_prompts(each.names, table.templates)),
        "backgrounds": list(background_prompts(words, table.templates, table.words)),
    }


def _encode(
    asked: dict[str, dict[str, list[str]]], model: config.ImageText, runtime: Runtime
) -> dict[str, Tensor]:
    """Encode every text once, and put the vectors where their texts are."""
    texts = [text for each in asked.values() for kind in each.values() for text in kind]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    teacher = open_image_text(model, device=runtime.device)
    vectors = teacher.encode_texts(list(places)).float().cpu()

    def stack(kind: str) -> Tensor:
        rows = [
            [vectors[places[text]] for text in each[kind]] for each in asked.values()
        ]
        longest = max(map(len, rows))
        empty = [torch.zeros(vectors.shape[1])] * max(1, longest)
        return torch.stack([torch.stack(row or empty) for row in rows]).contiguous()

    has_words = torch.tensor([bool(each["backgrounds"]) for each in asked.values()])
    return {
        "contexts": stack("contexts"),
        "backgrounds": stack("backgrounds"),
        "has_words": has_words,
    }
