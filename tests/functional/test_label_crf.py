import pytest
import torch

from tag2mask.functional.crf import DEEPLAB, IRN_LABELS
from tag2mask.functional.label_crf import smooth_labels
from tag2mask.functional.shapes import IGNORE


def halves(noise=0):
    """An image of two halves; its labels leak over the edge by three columns."""
    image = torch.full((16, 24, 3), 40, dtype=torch.uint8)
    image[:, :12] = 220
    spread = torch.randint(-noise, noise + 1, image.shape)
    labels = torch.zeros(16, 24, dtype=torch.uint8)
    labels[:, :15] = 7
    return (image + spread).clamp(0, 255).to(torch.uint8), labels


def test_labels_end_at_the_edge_of_the_image():
    image, labels = halves()
    found = smooth_labels(labels, image)
    assert found.dtype == torch.uint8
    assert (found[:, :12] == 7).all()
    assert (found[:, 12:] == 0).all()


def test_unknown_pixels_get_the_label_of_their_like():
    image, labels = halves()
    labels[:, 4:9] = IGNORE
    assert (smooth_labels(labels, image)[:, :12] == 7).all()


@pytest.mark.parametrize("value", [0, 3, IGNORE])
def test_a_map_of_one_value_stays(value):
    image, labels = halves()
    labels[:] = value
    assert torch.equal(smooth_labels(labels, image), labels)


def test_without_steps_labels_stay():
    image, labels = halves()
    labels[3, 3] = 2
    still = IRN_LABELS._replace(iterations=0)
    assert torch.equal(smooth_labels(labels, image, preset=still), labels)


def test_knobs_are_alive():
    image, _ = halves(noise=60)
    labels = torch.randint(0, 2, (16, 24)).to(torch.uint8)
    found = [
        smooth_labels(labels, image),
        smooth_labels(labels, image, certainty=0.99),
        smooth_labels(labels, image, preset=DEEPLAB),
    ]
    assert len({tuple(each.flatten().tolist()) for each in found}) == 3


def test_names_of_classes_do_not_matter():
    image, labels = halves()
    other = torch.tensor([4] * 7 + [9], dtype=torch.uint8)[labels.long()]
    found, renamed = smooth_labels(labels, image), smooth_labels(other, image)
    assert torch.equal(found == 7, renamed == 9)
