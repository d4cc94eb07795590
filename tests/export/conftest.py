"""One exported model for all tests: the exporter takes seconds."""

import pytest
import torch
from torch import nn

torch.set_num_threads(1)


class Small(nn.Module):
    """A network of stride 4 whose labels depend on where one looks."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, images):
        return self.head(self.body(images).relu())


@pytest.fixture(scope="session")
def small():
    """An untrained segmenter of three classes."""
    from tag2mask.models.segmenters import Segmenter

    torch.manual_seed(0)
    network = Small().eval()
    with torch.no_grad():
        network.head.weight.mul_(20)
        network.head.bias.zero_()
    card = {"network": "small", "backbone": "none", "init": "random"}
    return Segmenter(network, ("background", "cat", "dog"), card)


@pytest.fixture(scope="session")
def exported(small, tmp_path_factory):
    """What ``export_onnx`` says of it; the file is at ``.path``."""
    pytest.importorskip("onnxscript")
    from tag2mask.export.onnx_model import export_onnx

    return export_onnx(small, tmp_path_factory.mktemp("onnx") / "small.onnx")
