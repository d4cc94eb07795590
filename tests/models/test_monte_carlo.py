import pytest
import torch

from tag2mask.engine.inference import activation_maps
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork, SaliencyNetwork
from tag2mask.models.channel_dropout import ChannelDropout, draw_factors
from tag2mask.models.monte_carlo import MonteCarloCam

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def generator(random_seed=0):
    return torch.Generator().manual_seed(random_seed)


def test_factors_are_those_of_dropout():
    factors = draw_factors(100_000, dropout=0.2, generator=generator())
    assert sorted(set(factors.tolist())) == [0.0, 1.25]  # 1 / (1 - 0.2)
    # the mean is 1, give or take 4 deviations of 1.25 sqrt(0.2 0.8 / 100,000)
    assert float(factors.mean()) == pytest.approx(1, abs=0.0064)
    assert not torch.equal(
        draw_factors(50, dropout=0.2, generator=generator(0)),
        draw_factors(50, dropout=0.2, generator=generator(1)),
    )


def test_no_dropout_leaves_all_channels_as_they_are():
    assert draw_factors(5, dropout=0.0, generator=generator()).tolist() == [1.0] * 5


def test_held_factors_multiply_the_channels_of_each_image():
    layer = ChannelDropout(0.5, 2).eval()
    maps = torch.tensor([[3.0, 5.0], [7.0, 11.0]])[:, :, None, None].expand(2, 2, 1, 2)
    layer.hold(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    assert layer(maps)[..., 0, 1].tolist() == [[6.0, 0.0], [0.0, 22.0]]
    layer.hold(None)
    assert torch.equal(layer(maps), maps)


@pytest.fixture(scope="module", params=["dropout7", "b7"])
def network(request):
    torch.manual_seed(0)
    name = "resnet38d" if request.param == "b7" else "test_resnet"
    backbone = make_backbone(
        name,
        weights="none",
        output_stride=8,
        options={"width": 0.0625} if request.param == "b7" else {},
    )
    return CamNetwork(
        backbone, num_tags=3, dropout=0.1, dropout_layer=request.param
    ).eval()


def read(network, names=("a", "b"), images=IMAGES, **changes):
    knobs = {"dropout": 0.3, "voter": "0.3-1", "random_seed": 0} | changes
    drops = MonteCarloCam(network, **knobs)
    drops.look_at(list(names))
    with torch.no_grad():
        found = drops.logit_maps(images)
    for layer in network.last_dropouts:
        layer.hold(None)
    return found


def test_the_same_channels_are_missing_again(network):
    assert torch.equal(read(network), read(network))


def test_an_images_channels_do_not_depend_on_its_batch(network):
    both = read(network)
    alone = read(network, ("b",), IMAGES[1:])
    torch.testing.assert_close(alone[0], both[1], rtol=1e-4, atol=1e-5)
    turned = read(network, ("b", "a"), IMAGES.flip(0))
    torch.testing.assert_close(turned.flip(0), both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{"dropout": 0.2}, {"voter": "0.3-1.2"}, {"random_seed": 1}, {"names": "cd"}],
)
def test_each_voter_image_and_random_seed_lacks_other_channels(network, change):
    assert not torch.allclose(read(network, **change), read(network), atol=1e-4)


def test_without_dropout_it_is_the_network(network):
    with torch.no_grad():
        expected = network.logit_maps(IMAGES)
    torch.testing.assert_close(read(network, dropout=0.0), expected)
    assert not torch.allclose(read(network), expected, atol=1e-4)


def test_scales_and_mirrors_lack_the_same_channels(network):
    seen = []
    network.last_dropouts[0].register_forward_hook(
        lambda _, inputs, output: seen.append(
            (inputs[0].abs().sum((2, 3)) > 0, output.abs().sum((2, 3)) > 0)
        )
    )
    drops = MonteCarloCam(network, dropout=0.5, voter="v", random_seed=0)
    drops.look_at(["a", "b"])
    activation_maps(drops.logit_maps, IMAGES, scales=[1.0, 1.5], flip=True, stride=4)
    network.last_dropouts[0].hold(None)
    assert len(seen) == 4
    alive = torch.stack([before for before, _ in seen]).all(dim=0)
    kept = [after & alive for _, after in seen]
    assert all(torch.equal(each, kept[0]) for each in kept)
    assert 0 < int(kept[0].sum()) < int(alive.sum())
    assert not torch.equal(kept[0][0], kept[0][1])  # of the two images


def test_it_moves_with_its_network(network):
    drops = MonteCarloCam(network, dropout=0.5, voter="v", random_seed=0)
    assert list(drops.to("cpu").parameters())


def test_background_of_a_saliency_network_is_for_its_loss_only():
    backbone = make_backbone("test_resnet", weights="none", output_stride=8)
    trained = SaliencyNetwork(backbone, num_tags=3, dropout=0.1).eval()
    plain = CamNetwork(backbone, num_tags=3, dropout=0.1).eval()
    trained.without_background(plain)
    with torch.no_grad():
        maps = trained(IMAGES)
        assert maps.shape[1] == 4
        torch.testing.assert_close(plain.logit_maps(IMAGES), maps[:, 1:])
        torch.testing.assert_close(plain(IMAGES), maps[:, 1:].mean(dim=(2, 3)))
