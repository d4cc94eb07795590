import pytest
import torch
from PIL import Image
from torch import nn

from tag2mask import config
from tag2mask.artifacts.tables import ImageRecord, Index, write_index
from tag2mask.engine.runtime import Runtime
from tag2mask.errors import TrainingError
from tag2mask.models.cam_network import CamNetwork
from tag2mask.stages import cam


class Full(CamNetwork):
    """A network that no device is large enough for."""

    def __init__(self):
        nn.Module.__init__(self)

    def logit_maps(self, images):
        del images
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU")


def test_full_memory_says_which_knobs_need_less_of_it(tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    image = ImageRecord("a", "a.png", 8, 6, (1,), "train")
    write_index(tmp_path / "index", [image], ["background", "x"], [])
    index = Index(tmp_path / "index", tmp_path)
    settings = config.CamInference()
    with pytest.raises(TrainingError) as caught:
        cam.run(index, Full(), settings, tmp_path, scale=1.0, runtime=Runtime())
    assert str(caught.value) == (
        "the device's memory is full (CUDA out of memory): set voters' cam.precision = "
        "'bf16', lower cam.scales, or use --device cpu"
    )
