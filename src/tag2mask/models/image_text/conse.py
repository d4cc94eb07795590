"""An image-text model out of an image classifier and a sentence encoder (ConSE).

Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings",
ICLR 2014: an image lies where the names of the classes lie that a classifier sees in
it. No training, open to any word, much weaker than CLIP.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tag2mask._torchvision import import_torchvision
from tag2mask.errors import ModelError
from tag2mask.models.backbones import create_net, with_normalisation
from tag2mask.models.folding import fold_batch_norms
from tag2mask.models.image_text.frozen import (
    FrozenModule,
    computing,
    fingerprint,
    unit,
)
from tag2mask.models.image_text.protocol import Precision, TextEncoder
from tag2mask.models.weights import load_module

import_torchvision()
import timm  # noqa: E402  (needs the guard)
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset  # noqa: E402

Variant = Literal["probabilities", "weights"]
TEMPLATE = "a photo of a {}."
TEMPERATURE = 0.05
"""Of the softmax over cosines that mixes classifier weights for a text."""


class Conse(FrozenModule):
    """A classifier and a sentence encoder, frozen; see ``ImageTextModel``.

    With ``L_c`` the unit vector of class c's name, the mean over its synonyms, and
    ``m`` the mean of ``L`` over the classes:

    - ``probabilities`` (ConSE with all classes): an image is
      ``sum_c p_c (L_c - m)``, p the softmax of its logits; a text with vector t is
      ``t - m``. Subtracting m keeps what all class names share out of the cosines.
    - ``weights``: a text is ``sum_c a_c (W_c - mean W)``, W the classifier's weights
      and a the softmax over c of ``cos(t - m, L_c - m) / 0.05``; an image is its pooled
      features less their own mean over channels. Their mean over images, which needs
      images to be measured, is nearly the same in every channel of a network that ends
      in a rectifier, and an image's own mean tells it: on 300 photographs of voc-mini
      both rank tags alike (mean average precision 0.66).

    Args:
        classifier: Of timm, with a linear classifier.
        sentences: Encodes the class names, here and now, and the texts.
        class_names: By class; commas separate synonyms.
        variant: See above.
        precision: Of the image classifier; ``bf16`` on hardware that has it.

    Raises:
        ModelError: If the classifier is not linear or has another number of classes.
    """

    label_mean: Tensor
    label_vectors: Tensor
    classifier_rows: Tensor

    def __init__(
        self,
        classifier: Any,  # noqa: ANN401
        sentences: TextEncoder,
        *,
        class_names: Sequence[str],
        variant: Variant = "probabilities",
        precision: Precision = "32",
    ) -> None:
        super().__init__()
        self.network = classifier
        self.precision = precision
        self._variant = variant
        self._sentences = sentences
        settings = classifier.pretrained_cfg
        name = settings.get("architecture", type(classifier).__name__)
        rows = _linear_rows(classifier, name)
        if len(rows) != len(class_names):
            raise ModelError(
                f"the classifier {name} has {len(rows)} classes, but there are "
                f"{len(class_names)} class names; expected one line for each class, in "
                f"the classifier's order"
            )
        self.image_size: int = settings["input_size"][-1]
        self.mean: tuple[float, float, float] = tuple(settings["mean"])
        self.std: tuple[float, float, float] = tuple(settings["std"])
        labels = _encode_names(sentences, class_names)
        self.register_buffer("label_mean", labels.mean(0), persistent=False)
        self.register_buffer("label_vectors", labels - labels.mean(0), persistent=False)
        self.register_buffer("classifier_rows", rows - rows.mean(0), persistent=False)
        facts = (list(class_names), self.image_size, self.mean, self.std)
        digest = fingerprint(classifier, *facts, sentences.identity)
        self.identity = f"conse {variant} {name} {digest}"
        self.freeze()

    def encode_images(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return unit vectors of normalised images."""
        with computing(self.precision, images.device):
            features = self.network.forward_head(
                self.network.forward_features(images.float()), pre_logits=True
            )
        return unit(self._place(features))

    def encode_dense(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b d gh gw"]:
        """Return for each place of the feature map what an image of it alone would be.

        Not of unit length: ``weights`` has strong and weak features. Where pooling is
        the mean and nothing follows it, an image is the mean of its places under
        ``weights``.

        Raises:
            ModelError: If the classifier has no feature map.
        """
        with computing(self.precision, images.device):
            found: Tensor = self.network.forward_features(images.float())
            if found.ndim != 4 or found.shape[1] != self.network.num_features:
                raise ModelError(
                    f"{self.identity} has no feature map, but something of shape "
                    f"{list(found.shape[1:])} of an image: choose a convolutional "
                    f"classifier to tell what is where"
                )
            each = found.movedim(1, -1).flatten(0, 2)[:, :, None, None]
            features = self.network.forward_head(each, pre_logits=True)
        grid = len(images), *found.shape[-2:], -1
        return self._place(features).view(grid).movedim(-1, 1)

    def _place(self, features: Float[Tensor, "n c"]) -> Float[Tensor, "n d"]:
        """Place pooled features in the space of the texts."""
        if self._variant == "weights":
            features = features.float()
            return features - features.mean(dim=1, keepdim=True)
        with computing(self.precision, features.device):
            logits: Tensor = self.network.get_classifier()(features)
        with computing("32", features.device):
            return logits.float().softmax(dim=1) @ self.label_vectors

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit vectors of texts, on the classifier's device.

        Raises:
            ValueError: If there is no text.
        """
        found = self._sentences.encode_texts(texts).to(self.label_vectors.device)
        with computing("32", found.device):
            vectors = unit(found - self.label_mean)
            if self._variant == "probabilities":
                return vectors
            similarities = vectors @ unit(self.label_vectors).T
            shares = (similarities / TEMPERATURE).softmax(dim=1)
            return unit(shares @ self.classifier_rows)


def load_conse(
    sentences: TextEncoder,
    *,
    backbone: str,
    weights: str = "hub",
    backbone_options: Mapping[str, str | int | float | bool] | None = None,
    class_names: str | None = None,
    variant: Variant = "probabilities",
) -> Conse:
    """Build a classifier, load its weights and put it together with an encoder.

    Args:
        sentences: As ``load_sentence_encoder`` returns it.
        backbone: Image classifier, as ``timm.list_models()`` spells it.
        weights: ``hub`` (timm's pretrained weights), or a file with the classifier.
        backbone_options: Further arguments of ``timm.create_model``; ``mean`` and
            ``std`` are of the inputs that the weights expect, one number for all
            channels.
        class_names: Text file with a line for each class, commas between synonyms;
            None: those of the ImageNet that has as many classes, from timm.
        variant: See ``Conse``.

    Raises:
        ModelError: If timm has no such model or refuses an option, if the weights are
            of another network or have no classifier, or if the class names cannot be
            read or are not as many as the classes.
    """
    if not timm.is_model(backbone):
        raise ModelError(f"timm has no image classifier {backbone!r}")
    options = with_normalisation(dict(backbone_options or {}))
    network: Any = create_net(
        backbone, 32, pretrained=weights == "hub", options=options
    )
    if weights != "hub":
        load_module(network, Path(weights), name=f"the classifier {backbone}")
    if class_names is None:
        names = _imagenet_names(network, backbone)
    else:
        names = read_class_names(Path(class_names))
    network.eval()
    side = network.pretrained_cfg["input_size"][-1]
    fold_batch_norms(network, torch.linspace(0, 1, 3 * side**2).view(1, 3, side, side))
    return Conse(network, sentences, class_names=names, variant=variant)


def read_class_names(path: Path) -> list[str]:
    """Read a class name a line; commas separate synonyms.

    Raises:
        ModelError: If the file is missing or no text, or if a line is empty.
    """
    try:
        names = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the class names cannot be read from {path.absolute()} ({error}); "
            f"expected a text file with a line for each class of the classifier"
        ) from None
    for number, name in enumerate(names, start=1):
        if not all(synonym.strip() for synonym in name.split(",")):
            raise ModelError(
                f"{path}, line {number}: expected a class name, commas between "
                f"synonyms, got {name!r}"
            )
    return names


def _imagenet_names(network: Any, backbone: str) -> list[str]:  # noqa: ANN401
    subset = infer_imagenet_subset(network)
    if subset is None:
        raise ModelError(
            f"the classifier {backbone} is of no ImageNet that timm knows the class "
            f"names of; name a text file with a line for each class in `class_names`"
        )
    return list(ImageNetInfo(subset).label_descriptions())


def _encode_names(
    sentences: TextEncoder, class_names: Sequence[str]
) -> Float[Tensor, "c d"]:
    """Return for each class the unit vector of the mean over its synonyms."""
    synonyms = [[each.strip() for each in name.split(",")] for name in class_names]
    texts = [TEMPLATE.format(each) for names in synonyms for each in names]
    parts = sentences.encode_texts(texts).split([len(names) for names in synonyms])
    return unit(torch.stack([part.mean(0) for part in parts]))


def _linear_rows(network: Any, name: str) -> Float[Tensor, "c d"]:  # noqa: ANN401
    head = network.get_classifier() if hasattr(network, "get_classifier") else None
    if not isinstance(head, nn.Linear):
        raise ModelError(
            f"the classifier {name} ends in {type(head).__name__}; expected a linear "
            f"layer on pooled features: choose another one"
        )
    return head.weight.detach().clone()
