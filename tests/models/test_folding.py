import copy

import pytest
import torch
from torch import nn

from tag2mask.models import backbones
from tag2mask.models.backbones import make_backbone
from tag2mask.models.folding import FoldedConv2d, FoldedNorm, fold_batch_norms

NETWORKS = {
    "mobilenetv2_100": (16, {"pad_type": "same"}, 52),
    "resnet18": (32, {}, 20),
    "test_resnet": (8, {}, 15),
    "test_vit": (16, {}, 0),
}
"""Output stride, options and how many batch norms can be folded."""


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def uneven(network):
    """Give batch norms the statistics of a trained network."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight.data, norm.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (norm.bias.data, norm.running_mean):
                tensor.normal_(0, 0.3)
    return network


def folds(network):
    return sum(isinstance(m, FoldedConv2d) for m in network.modules())


def pair(name):
    """Return a backbone unfolded and folded, with equal weights."""
    stride, options, _ = NETWORKS[name]
    given = {"weights": "none", "output_stride": stride, "options": options}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backbones, "fold_batch_norms", lambda *_: 0)
        plain = uneven(make_backbone(name, **given))
    folded = make_backbone(name, **given)
    folded.load_state_dict(plain.state_dict())
    return plain, folded


def gradients(network, images):
    network.zero_grad()
    output = network(images)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    (output * weights).mean().backward()
    found = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return output.detach(), found


def assert_equal_but_for_rounding(one, other):
    atol = 1e-4 * float(one.abs().max())
    torch.testing.assert_close(other, one, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("frozen", [True, False])
def test_folded_backbone_has_the_same_features_and_gradients(name, frozen):
    plain, folded = pair(name)
    assert (folds(plain), folds(folded)) == (0, NETWORKS[name][2])
    for each in (plain.double(), folded.double()):
        each.freeze(batch_norm=frozen, parts=[])
        each.train(frozen)  # without frozen norms the mode decides
    odd = (64, 96) if name == "test_vit" else (67, 90)
    images = torch.rand(2, 3, *odd).double()
    (output, expected), (found_output, found) = (
        gradients(each, images) for each in (plain, folded)
    )
    assert_equal_but_for_rounding(output, found_output)
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        assert_equal_but_for_rounding(gradient, found[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_differs_by_rounding(name):
    plain, folded = (each.eval() for each in pair(name))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert_equal_but_for_rounding(plain(images), folded(images))


def test_norm_that_trains_is_not_folded():
    plain, folded = pair("test_resnet")
    images = torch.rand(4, 3, 32, 32)
    for each in (plain, folded):
        each.freeze(batch_norm=False, parts=["layer1"])
        each.train()
        each(images)
    for key, tensor in plain.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[key], tensor)
    changed = folded.net.layer2[0].bn1.num_batches_tracked
    kept = folded.net.layer1[0].bn1.num_batches_tracked
    assert (changed.item(), kept.item()) == (1, 0)


def test_state_is_that_of_the_plain_network():
    plain, folded = pair("mobilenetv2_100")
    state = plain.state_dict()
    assert list(folded.state_dict()) == list(state)
    assert list(dict(folded.named_parameters())) == list(dict(plain.named_parameters()))
    plain.load_state_dict(folded.state_dict())
    for key, tensor in folded.state_dict().items():
        assert torch.equal(tensor, state[key])


@pytest.mark.parametrize("assign", [True, False])
def test_state_that_is_loaded_later_counts(assign):
    plain, folded = (each.eval() for each in pair("test_resnet"))
    images = torch.rand(1, 3, 32, 32)
    before = folded(images)
    state = uneven(copy.deepcopy(plain)).state_dict()
    for each in (plain, folded):
        each.load_state_dict(state, assign=assign)
    assert not torch.allclose(folded(images), before)
    assert_equal_but_for_rounding(plain(images).detach(), folded(images).detach())


def test_copy_has_norms_of_its_own():
    folded = pair("test_resnet")[1].eval()
    images = torch.rand(1, 3, 32, 32)
    before = folded(images)
    other = uneven(copy.deepcopy(folded))
    assert torch.equal(folded(images), before)
    assert not torch.allclose(other(images), before)


def test_autocast_and_channels_last():
    plain, folded = (each.eval() for each in pair("test_resnet"))
    folded.to(memory_format=torch.channels_last)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = plain(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = folded(images)
    assert found.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(
        found.float().flatten(), expected.flatten(), dim=0
    ) == pytest.approx(1, abs=1e-3)


class Scaled(nn.Conv2d):
    """A convolution that is not linear in its weight."""

    def forward(self, input):
        return nn.functional.conv2d(input, self.weight / self.weight.norm())


class Small(nn.Module):
    """A convolution and a batch norm, wired in some way."""

    def __init__(self, wire, conv=nn.Conv2d, bias=True):
        super().__init__()
        self.conv, self.norm = conv(3, 3, 1, bias=bias), nn.BatchNorm2d(3)
        self.wire = wire

    def forward(self, images):
        return self.wire(self, images)


def chain(self, x):
    return self.norm(self.conv(x))


@pytest.mark.parametrize("bias", [True, False])
def test_convolution_and_norm_are_a_pair(bias):
    network = Small(chain, bias=bias)
    plain = uneven(copy.deepcopy(network)).eval()
    assert fold_batch_norms(network, torch.rand(1, 3, 4, 4)) == 1
    assert network.training
    network.eval().load_state_dict(plain.state_dict())
    images = torch.rand(2, 3, 5, 6)
    torch.testing.assert_close(network(images), plain(images))


def residual(self, x):
    y = self.conv(x)
    return self.norm(y) + y


def in_place(self, x):
    return self.norm(self.conv(x).relu_())


def through_a_view(self, x):
    y = self.conv(x)
    return self.norm(y) + y.flip(-1)


def twice(self, x):
    return self.norm(self.conv(self.norm(self.conv(x))))


def norm_twice(self, x):
    return self.norm(self.norm(self.conv(x)))


@pytest.mark.parametrize(
    "wire", [residual, in_place, through_a_view, twice, norm_twice]
)
def test_output_that_is_used_elsewhere_is_left_alone(wire):
    network = Small(wire)
    assert fold_batch_norms(network, torch.rand(1, 3, 4, 4)) == 0
    assert (type(network.conv), type(network.norm)) == (nn.Conv2d, nn.BatchNorm2d)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(3, affine=False),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.GroupNorm(1, 3),
    ],
    ids=["affine", "statistics", "group norm"],
)
def test_other_norms_are_left_alone(norm):
    network = Small(chain)
    network.norm = norm
    assert fold_batch_norms(network, torch.rand(1, 3, 4, 4)) == 0
    assert network.norm is norm


def test_convolution_that_does_more_is_left_alone():
    assert fold_batch_norms(Small(chain, Scaled), torch.rand(1, 3, 4, 4)) == 0


def test_network_that_would_compute_something_else_is_put_back():
    def depends_on_kinds(self, x):
        return chain(self, x) + isinstance(self.norm, FoldedNorm)

    network = Small(depends_on_kinds)
    conv, norm = network.conv, network.norm
    assert fold_batch_norms(network, torch.rand(1, 3, 4, 4)) == 0
    assert network.conv is conv
    assert network.norm is norm


def test_weights_that_overflow_are_left_as_they_are():
    """Their features are not finite, so that nothing could be compared."""
    network = Small(chain)
    torch.nn.init.constant_(network.conv.weight, 3e38)
    norm = network.norm
    assert fold_batch_norms(network, torch.rand(1, 3, 4, 4)) == 0
    assert network.norm is norm
