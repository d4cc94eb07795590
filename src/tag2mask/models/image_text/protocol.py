"""What a model of images and texts must do, ours or anybody's."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

Precision = Literal["32", "bf16"]


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        identity: Names model and weights: another identity, other vectors.
    """

    identity: str

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return a unit vector, float32 and without gradient, for each text.

        Raises:
            ValueError: If there is no text.
        """
        ...


@runtime_checkable
class ImageTextModel(TextEncoder, Protocol):
    """Places images and texts in one space, in which cosines compare them.

    It is frozen: no weight ever takes a gradient, and layers that behave otherwise
    while training never do. ``tag2mask.testing.check_image_text_model`` checks all of
    this.

    Attributes:
        image_size: Side of the square images that it expects, in pixels.
        mean: Of the images that its weights expect, RGB in [0, 1].
        std: Likewise.
        identity: Names model and weights, for caches and protocols.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def encode_images(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return a unit vector, float32, for each image.

        Differentiable in the images; an image's vector depends on no other image.

        Args:
            images: RGB, ``image_size`` pixels a side, already normalised:
                ``(image - mean) / std`` of an image in [0, 1].
        """
        ...


@runtime_checkable
class DenseImageTextModel(ImageTextModel, Protocol):
    """An image-text model that also tells what is where.

    ``tag2mask.testing.check_dense_image_text_model`` checks it.
    """

    def encode_dense(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b d gh gw"]:
        """Return a vector, float32, for each place of each image.

        The more a text is at a place, the greater the dot product of its vector with
        that of the place; how long the vectors of places are is the model's affair. An
        image's vectors depend on no other image.

        Args:
            images: RGB of any size, normalised as for ``encode_images``.

        Returns:
            On a grid that covers the image evenly.
        """
        ...
