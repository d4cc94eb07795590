import pytest
import torch
from PIL import Image
from torch import nn

from tag2mask import config
from tag2mask.artifacts.cams import read_cams
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


class Tilted(CamNetwork):
    """Two tags; one is seen everywhere, the other more and more to the right."""

    def __init__(self):
        nn.Module.__init__(self)

    def logit_maps(self, images):
        ramp = torch.linspace(1, 4, images.shape[-1]).expand_as(images[:, 0])
        return torch.stack([ramp, torch.full_like(ramp, 2.0)], dim=1)


@pytest.mark.parametrize("contrast", [False, True])
def test_contrast_is_alive(tmp_path, contrast):
    Image.new("RGB", (16, 4)).save(tmp_path / "a.png")
    image = ImageRecord("a", "a.png", 16, 4, (1,), "train")
    write_index(tmp_path / "index", [image], ["background", "x", "y"], [])
    index = Index(tmp_path / "index", tmp_path)
    settings = config.CamInference(scales=(1.0,), flip=False, contrast=contrast)
    cam.run(index, Tilted(), settings, tmp_path, scale=1.0, runtime=Runtime())
    left = read_cams(tmp_path / "cams", "a").maps[0, 0, 0]
    # on the left the tag has less than the mean of both, so that nothing is left of it
    assert (left == 0) == contrast


class Counting(Tilted):
    """Remembers how many images it saw at once."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def logit_maps(self, images):
        self.seen.append(len(images))
        return super().logit_maps(images)


@pytest.mark.parametrize(("scales", "scale", "at_once"), [
    ((0.5, 1.0), 1.0, 4), ((0.5, 2.0), 1.0, 1), ((0.5, 1.0), 1.5, 1), ((1.0,), 1.4, 2),
])  # fmt: skip
def test_batches_count_the_pixels_of_the_largest_view(
    tmp_path, monkeypatch, scales, scale, at_once
):
    # four images of 64 pixels in 256: at 1.4 times the size, 256 / 1.96 holds two
    monkeypatch.setitem(cam.PIXELS_PER_BATCH, "cpu", 256)
    images = [ImageRecord(name, f"{name}.png", 16, 4, (1,), "train") for name in "abcd"]
    for image in images:
        Image.new("RGB", (16, 4)).save(tmp_path / image.file)
    write_index(tmp_path / "index", images, ["background", "x", "y"], [])
    index, network = Index(tmp_path / "index", tmp_path), Counting()
    settings = config.CamInference(scales=scales, flip=False)
    cam.run(index, network, settings, tmp_path, scale=scale, runtime=Runtime())
    assert set(network.seen) == {at_once}
