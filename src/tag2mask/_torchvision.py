"""Make a torchvision without its compiled operators importable.

A torch without CUDA beside a torchvision built for CUDA cannot load torchvision's
operators, and then ``import torchvision`` fails, and with it timm, Fabric and
transformers. Nothing in this package calls those operators; declaring their schemas is
enough for the Python part to import. A torchvision that works is left alone.
"""

import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[torch.library.Library] = []  # a schema lives as long as its library


def import_torchvision() -> None:
    """Import torchvision, declaring its operators where they could not be loaded.

    Call it before importing timm, Fabric or transformers.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _libraries.append(library)
        import torchvision  # noqa: F401
