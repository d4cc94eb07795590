"""Activation maps of texts, read off an image-text model without any training."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tag2mask.models.image_text.frozen import unit
from tag2mask.models.image_text.protocol import DenseImageTextModel


class TextMaps(nn.Module):
    """How much of each text is at each place of an image, as logit maps.

    Args:
        model: Tells what is where; a ``torch.nn.Module``.
        texts: A vector for each class.
    """

    texts: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, model: DenseImageTextModel, texts: Float[Tensor, "t d"]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("texts", texts, persistent=False)
        for name in ("mean", "std"):
            channels = torch.tensor(getattr(model, name)).view(3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def logit_maps(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b t gh gw"]:
        """Return ``text . place`` of RGB images in [0, 1], normalised here."""
        places = self.model.encode_dense((images - self.mean) / self.std)
        return torch.einsum("td,bdhw->bthw", self.texts, places)


def class_texts(
    contexts: Float[Tensor, "k m d"],
    backgrounds: Float[Tensor, "k l d"],
    has_words: Bool[Tensor, "k"],
    *,
    suppress_words: bool,
) -> Float[Tensor, "k d"]:
    """Return one vector for each class.

    The mean over its contexts, of unit length. With ``suppress_words`` the mean over
    its background prompts is taken off [ours]: a place then counts for a class as far
    as it is closer to the class than to what usually surrounds it.

    Args:
        contexts: Unit vectors of each class in each context.
        backgrounds: Unit vectors of each class's background prompts.
        has_words: Classes without background words keep their text as it is.
        suppress_words: Whether to take them off.
    """
    texts = unit(contexts.mean(dim=1))
    if suppress_words:
        texts = texts - backgrounds.mean(dim=1) * has_words[:, None]
    return texts
