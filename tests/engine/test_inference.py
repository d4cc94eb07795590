import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tag2mask.artifacts.tables import ImageRecord
from tag2mask.engine.inference import (
    activation_maps,
    batches_by_size,
    class_logits,
    to_batch,
    views,
)


def record(name, width, height):
    return ImageRecord(name, f"{name}.png", width, height, (), "train")


SIZES = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), max_size=20)


@given(sizes=SIZES, pixels=st.integers(1, 20))
def test_batches_are_of_one_size_and_hold_every_image_once(sizes, pixels):
    images = [record(str(n), *size) for n, size in enumerate(sizes)]
    batches = list(batches_by_size(images, pixels=pixels))
    assert sorted(image.name for batch in batches for image in batch) == sorted(
        image.name for image in images
    )
    for batch in batches:
        assert len({(image.width, image.height) for image in batch}) == 1
        assert len(batch) == 1 or sum(i.width * i.height for i in batch) <= pixels
    assert list(batches_by_size(images, pixels=pixels)) == batches


def test_images_of_one_size_keep_their_order():
    images = [record(name, 2, 3) for name in "abc"]
    images.insert(1, record("tall", 2, 9))
    batches = batches_by_size(images, pixels=12)
    assert [[i.name for i in batch] for batch in batches] == [
        ["a", "b"],
        ["c"],
        ["tall"],
    ]


def test_batch_holds_shares_of_full_colour():
    image = torch.tensor([[[0, 51, 255], [1, 2, 3]]], dtype=torch.uint8)
    batch = to_batch([image, image], torch.device("cpu"))
    assert batch.shape == (2, 3, 1, 2)
    assert batch[1, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


def test_views_are_each_scale_and_its_mirror():
    images = torch.rand(1, 3, 4, 6)
    found = list(views(images, scales=[1.0, 0.5], flip=True))
    assert [mirrored for _, mirrored in found] == [False, True, False, True]
    assert [tuple(view.shape[-2:]) for view, _ in found] == [(4, 6)] * 2 + [(2, 3)] * 2
    assert torch.equal(found[0][0], images)
    assert torch.equal(found[1][0], images.flip(-1))


def pixel_wise():
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, 1)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.3, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_constant_images_look_the_same_at_every_scale(scale, flip):
    images = torch.rand(2, 3, 1, 1).expand(2, 3, 8, 6).contiguous()
    network = pixel_wise()
    found = class_logits(network, images, scales=[1.0, scale], flip=flip)
    assert found.shape == (2, 4, 8, 6)
    torch.testing.assert_close(found, network(images).detach())


def test_logits_are_the_mean_over_scales_and_mirrors():
    images, network = torch.rand(1, 3, 6, 6), nn.Conv2d(3, 2, 3, padding=1)
    both = class_logits(network, images, scales=[0.5, 1.0], flip=False)
    each = [class_logits(network, images, scales=[s], flip=False) for s in (0.5, 1.0)]
    torch.testing.assert_close(both, torch.stack(each).mean(0))


def test_mirror_makes_the_logits_symmetric():
    images, network = torch.rand(1, 3, 6, 8), nn.Conv2d(3, 2, 3, padding=1)
    found = class_logits(network, images, scales=[1.0], flip=True)
    mirrored = class_logits(network, images.flip(-1), scales=[1.0], flip=True)
    torch.testing.assert_close(found, mirrored.flip(-1))
    plain = class_logits(network, images, scales=[1.0], flip=False)
    assert not torch.allclose(found, plain)


def test_logits_come_at_the_size_of_the_images():
    strided = nn.Conv2d(3, 2, 3, stride=4, padding=1)
    found = class_logits(strided, torch.rand(1, 3, 13, 7), scales=[1.0], flip=False)
    assert found.shape == (1, 2, 13, 7)


def test_no_scale_is_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        class_logits(pixel_wise(), torch.rand(1, 3, 2, 2), scales=[], flip=False)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    flip=st.booleans(),
    scale=st.sampled_from([0.5, 1.0, 1.7]),
)
def test_activation_maps_lie_between_0_and_1(height, width, flip, scale):
    torch.manual_seed(0)
    images, network = torch.rand(2, 3, height, width), pixel_wise()
    found = activation_maps(network, images, scales=[1.0, scale], flip=flip, stride=4)
    assert found.shape == (2, 4, -(-height // 4), -(-width // 4))
    assert found.min() >= 0
    assert found.max() <= 1


def test_activation_without_evidence_is_zero():
    def against(images):
        return -torch.ones(len(images), 2, 3, 3)

    found = activation_maps(
        against, torch.rand(1, 3, 8, 8), scales=[1.0], flip=False, stride=4
    )
    assert found.eq(0).all()


def test_a_batch_equals_its_images_one_at_a_time():
    torch.manual_seed(0)
    images = torch.rand(5, 3, 17, 23)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 3, 3))

    def maps(images):
        return activation_maps(network, images, scales=[0.5, 1.0], flip=True, stride=4)

    alone = torch.cat([maps(image[None]) for image in images])
    torch.testing.assert_close(maps(images), alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"scales": [0.5]}, {"flip": True}, {"stride": 2}], ids=str
)
def test_every_knob_of_activation_maps_is_alive(change):
    torch.manual_seed(0)
    images, network = torch.rand(1, 3, 8, 8), nn.Conv2d(3, 2, 3, padding=1)
    knobs = {"scales": [1.0], "flip": False, "stride": 4}
    one = activation_maps(network, images, **knobs)
    other = activation_maps(network, images, **knobs | change)
    assert one.shape != other.shape or not torch.equal(one, other)
