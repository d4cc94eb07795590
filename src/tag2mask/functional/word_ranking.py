"""Which words go with a class: similarities to its images against the others'."""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor


class WordContrast:
    """Similarities of words to images, summed by class while images go by (ours).

    Memory does not grow with the number of images: one sum for each class and word.
    The order of the images and how they are batched do not count, rounding aside.

    Args:
        num_classes: Classes without background, at least 1.
        num_words: Words of the vocabulary, at least 1.

    Raises:
        ValueError: If there is no class or no word.
    """

    def __init__(self, num_classes: int, num_words: int) -> None:
        if num_classes < 1 or num_words < 1:
            raise ValueError(
                f"expected at least 1 class and 1 word, got {num_classes} and "
                f"{num_words}"
            )
        self._sums = torch.zeros(num_classes, num_words, dtype=torch.float64)
        self._total = torch.zeros(num_words, dtype=torch.float64)
        self._counts = torch.zeros(num_classes, dtype=torch.int64)
        self._num_images = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of classes and of words."""
        num_classes, num_words = self._sums.shape
        return num_classes, num_words

    def add(
        self, similarities: Float[Tensor, "i w"], tags: Bool[Tensor, "i t"]
    ) -> None:
        """Add images.

        Args:
            similarities: Of each image to each word, such as cosines.
            tags: Which classes each image shows; background is none.

        Raises:
            ValueError: If there are other classes or words than promised, or a
                similarity is no number.
        """
        if (tags.shape[1], similarities.shape[1]) != self.shape:
            raise ValueError(
                f"expected {self.shape} classes and words, got "
                f"{(tags.shape[1], similarities.shape[1])}"
            )
        if not similarities.isfinite().all():
            raise ValueError("a similarity is no finite number and cannot be ranked")
        exact, shown = similarities.detach().double().cpu(), tags.cpu()
        self._sums += shown.double().T @ exact
        self._total += exact.sum(dim=0)
        self._counts += shown.sum(dim=0)
        self._num_images += len(exact)

    def excess(self) -> Float64[Tensor, "t w"]:
        """Return the mean over the images of a class minus that over all others.

        Nan for a class without images. One that every image shows has no others:
        what remains is the mean over its own.
        """
        num_own = self._counts.unsqueeze(1)
        num_others = self._num_images - num_own
        own = self._sums / num_own  # 0 / 0 is the nan that is promised
        others = (self._total - self._sums) / num_others.clamp_min(1)
        return own - others.where(num_others > 0, 0)

    def rank(self) -> tuple[tuple[int, ...], ...]:
        """Return for each class the words by falling excess, as places in the list.

        Of equal words the earlier comes first. A class without images has no words.
        """
        orders = self.excess().argsort(dim=1, descending=True, stable=True).tolist()
        return tuple(
            tuple(order) if count else ()
            for order, count in zip(orders, self._counts.tolist(), strict=True)
        )
