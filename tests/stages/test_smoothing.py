import pytest
import torch

from tag2mask.functional.shapes import IGNORE
from tag2mask.stages.seed import CPU
from tag2mask.stages.smoothing import smooth_labels


def halves(noise=0):
    """An image of two halves; its labels leak over the edge by three columns."""
    image = torch.full((16, 24, 3), 40)
    image[:, :12] = 220
    spread = torch.randint(-noise, noise + 1, image.shape)
    labels = torch.zeros(16, 24, dtype=torch.uint8)
    labels[:, :15] = 7
    return (image + spread).clamp(0, 255).to(torch.uint8), labels


def smooth(labels, image, **knobs):
    knobs = {"preset": "irnet", "certainty": 0.7, "shrink": 1} | knobs
    return smooth_labels(labels, image, device=CPU, **knobs)


def test_labels_end_at_the_edge_of_the_image():
    image, labels = halves()
    found = smooth(labels, image)
    assert found.dtype == torch.uint8
    assert (found[:, :12] == 7).all()
    assert (found[:, 12:] == 0).all()


def test_unknown_pixels_get_the_label_of_their_like():
    image, labels = halves()
    labels[:, 4:9] = IGNORE
    assert (smooth(labels, image)[:, :12] == 7).all()


@pytest.mark.parametrize("value", [0, 3, IGNORE])
def test_a_map_of_one_value_stays(value):
    image, labels = halves()
    labels[:] = value
    assert torch.equal(smooth(labels, image), labels)


def test_knobs_are_alive():
    image, _ = halves(noise=60)
    labels = torch.randint(0, 2, (16, 24)).to(torch.uint8)
    changes = ({}, {"certainty": 0.99}, {"preset": "deeplab"}, {"shrink": 2})
    found = [smooth(labels, image, **change) for change in changes]
    assert len({tuple(each.flatten().tolist()) for each in found}) == len(changes)


def test_names_of_classes_do_not_matter():
    image, labels = halves()
    other = torch.tensor([4] * 7 + [9], dtype=torch.uint8)[labels.long()]
    found, renamed = smooth(labels, image), smooth(other, image)
    assert torch.equal(found == 7, renamed == 9)
