"""Checks for parts of others: do they keep the promises that ours are tested for?"""

from collections.abc import Sequence
from typing import NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask.errors import ModelError
from tag2mask.models.image_text.protocol import DenseImageTextModel, ImageTextModel

_TEXTS = ("a photo of a cat.", "a photo of a railway track.", "a photo of a cat.")
_LONG_TEXT = "a photo of a cat beside a railway track and " * 100
_NUM_IMAGES = 3


def check_image_text_model(model: object, *, tolerance: float = 1e-3) -> None:
    """Raise unless a model keeps what ``ImageTextModel`` promises.

    The model is asked for the vectors of three images of noise and of a few texts. If
    it is a ``torch.nn.Module``, it is left in evaluation mode.

    Args:
        model: Any object; on its own device if it is a ``torch.nn.Module``.
        tolerance: How far a vector's length may be from 1, and an entry of one image's
            or text's vector from what it is beside others.

    Raises:
        ModelError: Saying which promise is broken.
    """
    if not isinstance(model, ImageTextModel):
        names = ("image_size", "mean", "std", "identity")
        methods = ("encode_images", "encode_texts")
        missing = [each for each in names + methods if not hasattr(model, each)]
        _fail(model, f"lacks {', '.join(missing)}")
    _check_attributes(model)
    _check_mode(model)
    generator = torch.Generator().manual_seed(0)
    shape = (_NUM_IMAGES, 3, model.image_size, model.image_size)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.mean, model.std))
    noise = (torch.rand(shape, generator=generator) - mean) / std
    images = noise.to(_device(model))
    width = _check_images(model, images, tolerance=tolerance)
    _check_gradients(model, images)
    _check_texts(model, width=width, tolerance=tolerance)


def check_dense_image_text_model(model: object, *, tolerance: float = 1e-3) -> None:
    """Raise unless a model keeps what ``DenseImageTextModel`` promises.

    It is asked for the places of images that are not square and of two sizes, beside
    all that ``check_image_text_model`` asks.

    Args:
        model: Any object; on its own device if it is a ``torch.nn.Module``.
        tolerance: How far an entry of a place's vector may be from what it is where
            its image is alone, relative to the greatest.

    Raises:
        ModelError: Saying which promise is broken.
    """
    check_image_text_model(model, tolerance=tolerance)
    if not isinstance(model, DenseImageTextModel):
        _fail(model, "lacks encode_dense")
    width = model.encode_texts(_TEXTS[:1]).shape[1]
    generator = torch.Generator().manual_seed(0)
    side = model.image_size
    for height, length in ((side, 2 * side), (side + side // 2 + 1, side)):
        shape = (_NUM_IMAGES, 3, height, length)
        images = torch.randn(shape, generator=generator).to(_device(model))
        with torch.no_grad():
            places = model.encode_dense(images)
            alone = torch.cat([model.encode_dense(each[None]) for each in images])
        if places.ndim != 4 or places.shape[:2] != (_NUM_IMAGES, width):
            _fail(
                model,
                f"gives the places of {_NUM_IMAGES} images a tensor of shape "
                f"{list(places.shape)}; expected [{_NUM_IMAGES}, {width}, gh, gw]",
            )
        if places.dtype != torch.float32:
            _fail(model, f"gives places of {places.dtype}; expected torch.float32")
        largest = float(places.abs().max())
        _check_alone(model, places, alone, "places", tolerance * largest)


def _check_attributes(model: ImageTextModel) -> None:
    if not isinstance(model.image_size, int) or model.image_size < 1:
        _fail(model, f"has image_size {model.image_size!r}; expected pixels, 1 or more")
    for name in ("mean", "std"):
        values = getattr(model, name)
        if not isinstance(values, tuple) or [type(each) for each in values] != (
            [float] * 3
        ):
            _fail(model, f"has {name} {values!r}; expected a tuple of three floats")
    if min(model.std) <= 0:
        _fail(model, f"has std {model.std!r}; expected numbers above 0")
    if not isinstance(model.identity, str) or not model.identity:
        _fail(model, f"has identity {model.identity!r}; expected a text")


def _check_mode(model: ImageTextModel) -> None:
    if not isinstance(model, nn.Module):
        return
    for when in ("is", "after train() is"):
        training = [name for name, part in model.named_modules() if part.training]
        if training:
            model.eval()
            part = training[0] or "itself"
            _fail(model, f"{when} in training mode ({part}); expected evaluation mode")
        model.train()


def _check_images(
    model: ImageTextModel, images: Float[Tensor, "b 3 s s"], *, tolerance: float
) -> int:
    """Return the number of entries of a vector."""
    with torch.no_grad():
        vectors = model.encode_images(images)
        _check_vectors(model, vectors, len(images), "images", tolerance)
        alone = torch.cat([model.encode_images(each[None]) for each in images])
    _check_alone(model, vectors, alone, "images", tolerance)
    if torch.equal(vectors[0], vectors[1]):
        _fail(model, "gives two images the same vector")
    return vectors.shape[1]


def _check_gradients(model: ImageTextModel, images: Float[Tensor, "b 3 s s"]) -> None:
    weights = model.named_parameters() if isinstance(model, nn.Module) else ()
    for name, weight in weights:
        if weight.requires_grad:
            _fail(model, f"gives a gradient to its weights ({name}); freeze them")
    inputs = images.clone().requires_grad_()
    vectors = model.encode_images(inputs)
    if not vectors.requires_grad:
        _fail(model, "gives no gradient to images; encode them without no_grad")
    torch.linspace(-1, 1, vectors.shape[1]).to(vectors).mul(vectors).sum().backward()
    gradient = inputs.grad
    if gradient is None or not gradient.flatten(1).any(dim=1).all():
        _fail(model, "gives no gradient to images")
    if not gradient.isfinite().all():
        _fail(model, "gives images a gradient that is no number")


def _check_texts(model: ImageTextModel, *, width: int, tolerance: float) -> None:
    vectors = model.encode_texts(_TEXTS)
    _check_vectors(model, vectors, len(_TEXTS), "texts", tolerance)
    if vectors.shape[1] != width:
        _fail(
            model,
            f"gives texts vectors of {vectors.shape[1]} entries, but images {width}",
        )
    if vectors.requires_grad:
        _fail(model, "gives texts a gradient; encode them under torch.no_grad()")
    if not _is_close(vectors[0], vectors[2], tolerance):
        _fail(model, "gives one text two vectors")
    if torch.equal(vectors[0], vectors[1]):
        _fail(model, "gives two texts the same vector")
    alone = torch.cat([model.encode_texts([text]) for text in _TEXTS])
    _check_alone(model, vectors, alone, "texts", tolerance)
    together = model.encode_texts([_LONG_TEXT, _TEXTS[0]])
    _check_vectors(model, together, 2, "texts longer than it reads", tolerance)


def _check_vectors(
    model: ImageTextModel, vectors: Tensor, num: int, of: str, tolerance: float
) -> None:
    if vectors.ndim != 2 or len(vectors) != num:
        _fail(
            model,
            f"gives {num} {of} a tensor of shape {list(vectors.shape)}; expected "
            f"[{num}, d]",
        )
    if vectors.dtype != torch.float32:
        _fail(model, f"gives {of} vectors of {vectors.dtype}; expected torch.float32")
    lengths: Sequence[float] = vectors.detach().norm(dim=1).tolist()
    for length in lengths:
        if not abs(length - 1) <= tolerance:
            _fail(model, f"gives {of} vectors of length {length:.4g}; expected 1")


def _check_alone(
    model: ImageTextModel, vectors: Tensor, alone: Tensor, of: str, tolerance: float
) -> None:
    if not _is_close(vectors, alone, tolerance):
        _fail(model, f"gives {of} other vectors alone than beside others")


def _is_close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=0, atol=tolerance
    )


def _device(model: ImageTextModel) -> torch.device:
    weights = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if weights is None else weights.device


def _fail(model: object, broken: str) -> NoReturn:
    raise ModelError(
        f"{type(model).__name__} {broken}: it is no ImageTextModel of tag2mask"
    )
