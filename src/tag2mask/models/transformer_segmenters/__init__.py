"""Segmenters of transformers: SegFormer and Mask2Former."""

from tag2mask.models.transformer_segmenters.encoder import Encoder
from tag2mask.models.transformer_segmenters.mask2former import (
    Mask2Former,
    Queries,
    make_mask2former,
)
from tag2mask.models.transformer_segmenters.segformer import (
    SegFormer,
    make_segformer,
)
from tag2mask.models.transformer_segmenters.variants import (
    MIT_WEIGHTS,
    SWIN_WEIGHTS,
    MitVariant,
    Options,
    SwinVariant,
)

__all__ = [
    "MIT_WEIGHTS",
    "SWIN_WEIGHTS",
    "Encoder",
    "Mask2Former",
    "MitVariant",
    "Options",
    "Queries",
    "SegFormer",
    "SwinVariant",
    "make_mask2former",
    "make_segformer",
]
