"""CLIP and SigLIP as transformers has them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor

from tag2mask.errors import ModelError
from tag2mask.models.image_text.frozen import (
    FrozenModule,
    computing,
    device_of,
    encode_in_batches,
    fingerprint,
    unit,
)
from tag2mask.models.image_text.hub import (
    import_transformers,
    load_config,
    load_network,
    load_tokenizer,
    read_hub_json,
)
from tag2mask.models.image_text.protocol import Precision

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_LOADERS = {"clip": "CLIPModel", "siglip": "SiglipModel"}


class Clip(FrozenModule):
    """A CLIP or SigLIP model of transformers, frozen; see ``ImageTextModel``.

    Args:
        network: CLIPModel or SiglipModel.
        tokenizer: Of that model.
        preprocessing: The model's preprocessor_config.json, or nothing.
        name: For the identity.
        precision: Of the image encoder; ``bf16`` on hardware that has it.

    Raises:
        ModelError: If the preprocessing makes no square images of three channels.
    """

    def __init__(
        self,
        network: Any,  # noqa: ANN401
        tokenizer: Any,  # noqa: ANN401
        *,
        preprocessing: Mapping[str, Any],
        name: str,
        precision: Precision = "32",
    ) -> None:
        super().__init__()
        self.network = network
        self.precision = precision
        vision, text = network.config.vision_config, network.config.text_config
        is_siglip = network.config.model_type == "siglip"
        mean, std = ((0.5,) * 3, (0.5,) * 3) if is_siglip else (CLIP_MEAN, CLIP_STD)
        self.image_size = _side(preprocessing, name) or vision.image_size
        self.mean = _channels(preprocessing.get("image_mean", mean), name)
        self.std = _channels(preprocessing.get("image_std", std), name)
        self._is_siglip = is_siglip
        self._is_resized = self.image_size != vision.image_size
        self._tokenizer = tokenizer
        # SigLIP reads a text's padding, which it was trained with
        self._is_padded_fully = is_siglip
        self._num_tokens = text.max_position_embeddings
        activations = [vision.hidden_act, text.hidden_act]
        facts = (activations, self.image_size, self.mean, self.std)
        digest = fingerprint(network, *facts, tokenizer.get_vocab())
        self.identity = f"{network.config.model_type} {name} {digest}"
        self.freeze()

    def encode_images(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Return unit vectors of normalised images."""
        with computing(self.precision, images.device):
            found = self.network.get_image_features(
                pixel_values=images.float(), interpolate_pos_encoding=self._is_resized
            )
        return unit(found.pooler_output)

    def encode_dense(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b d gh gw"]:
        """Return a unit vector for each patch; places tell of themselves alone.

        CLIP: the tokens of the last layer attend each to itself, so that its values
        pass as they are (MaskCLIP: Zhou et al., ECCV 2022). SigLIP: the head that pools
        the tokens is given one at a time. Images are resized to whole patches, and the
        embeddings of positions are interpolated.
        """
        vision = self.network.vision_model
        patch = vision.config.patch_size
        rows, columns = (max(1, round(side / patch)) for side in images.shape[-2:])
        size = (rows * patch, columns * patch)
        if size != tuple(images.shape[-2:]):
            images = nnf.interpolate(
                images, size, mode="bilinear", align_corners=False, antialias=True
            )
        with computing(self.precision, images.device):
            places = self._siglip_places if self._is_siglip else self._clip_places
            found = unit(places(images.float()))
        return found.movedim(1, -1).reshape(len(images), -1, rows, columns)

    def _clip_places(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p d"]:
        vision = self.network.vision_model
        states = vision(
            pixel_values=images,
            interpolate_pos_encoding=True,
            output_hidden_states=True,
        ).hidden_states[-2]
        last = vision.encoder.layers[-1]
        values = last.self_attn.v_proj(last.layer_norm1(states))
        states = states + last.self_attn.out_proj(values)
        states = states + last.mlp(last.layer_norm2(states))
        tokens = vision.post_layernorm(states[:, 1:])  # the first is of the image
        places: Tensor = self.network.visual_projection(tokens)
        return places

    def _siglip_places(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b p d"]:
        vision = self.network.vision_model
        tokens = vision(
            pixel_values=images, interpolate_pos_encoding=True
        ).last_hidden_state
        places: Tensor = vision.head(tokens.flatten(0, 1)[:, None])
        return places.view_as(tokens)

    def encode_texts(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Return unit vectors of texts, cut at the model's length.

        Raises:
            ValueError: If there is no text.
        """
        return encode_in_batches(texts, self._encode, device_of(self))

    def _encode(self, texts: list[str]) -> Float[Tensor, "n d"]:
        tokens = self._tokenizer(
            texts,
            padding="max_length" if self._is_padded_fully else True,
            truncation=True,
            max_length=self._num_tokens,
            return_tensors="pt",
        ).to(device_of(self))
        mask = None if self._is_padded_fully else tokens.attention_mask
        vectors: Tensor = self.network.get_text_features(
            input_ids=tokens.input_ids, attention_mask=mask
        ).pooler_output
        return vectors


def load_clip(
    model: str = "openai/clip-vit-base-patch32", *, precision: Precision = "32"
) -> Clip:
    """Load a CLIP or SigLIP model.

    Args:
        model: Name on the hub, or a folder that ``save_pretrained`` of the model and
            of its tokenizer wrote. Weights are read from safetensors files only.
        precision: Of the image encoder.

    Raises:
        ModelError: If transformers is not installed, if the model, its weights or its
            tokenizer cannot be had, or if it is neither CLIP nor SigLIP.
    """
    transformers = import_transformers()
    config = load_config(model)
    if config.model_type not in _LOADERS:
        raise ModelError(
            f"{model} is a model of type {config.model_type!r}; expected one of "
            f"{', '.join(_LOADERS)}, with both its encoders"
        )
    tokenizer = load_tokenizer(model, num_embeddings=config.text_config.vocab_size)
    preprocessing = read_hub_json(
        model, "preprocessor_config.json", "processor_config.json"
    )
    return Clip(
        load_network(getattr(transformers, _LOADERS[config.model_type]), model, config),
        tokenizer,
        preprocessing=preprocessing.get("image_processor", preprocessing),
        name=Path(model).name if Path(model).is_dir() else model,
        precision=precision,
    )


def _side(preprocessing: Mapping[str, Any], name: str) -> int | None:
    """Return the side of the images; None where the file leaves it open."""
    for key in ("crop_size", "size"):
        size = preprocessing.get(key)
        sides = set(size.values()) if isinstance(size, Mapping) else {size}
        if sides == {None}:
            continue
        side = sides.pop()
        if sides or not isinstance(side, int):
            raise ModelError(
                f"the preprocessing of {name} has {key} = {size!r}; expected a square"
            )
        return side
    return None


def _channels(values: Any, name: str) -> tuple[float, float, float]:  # noqa: ANN401
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ModelError(
            f"the preprocessing of {name} has a mean or std {values!r}; expected three "
            f"numbers"
        )
    red, green, blue = map(float, values)
    return red, green, blue
