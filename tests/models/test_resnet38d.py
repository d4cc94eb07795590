"""ResNet38d against a derivation of its own: shapes, parameters and names.

Of a convolution from c to k channels with an n x n kernel: n n c k numbers, no bias; of
a batch norm of c channels: 2 c. A block has a batch norm before each convolution, and a
1x1 convolution on its shortcut where stride or channels change.

    stem      3 -> 64                                                      1,728
    b2        64 -> 128 -> 128, then 2 x 128 -> 128 -> 128               820,608
    b3        128 -> 256 -> 256, then 2 x 256 -> 256 -> 256            3,279,616
    b4        256 -> 512 -> 512, then 5 x 512 -> 512 -> 512           27,274,752
    b5        512 -> 512 -> 1024, then 2 x 1024 -> 512 -> 1024        26,484,736
    b6        1024 -> 512 -> 1024 -> 2048, kernels 1, 3, 1             9,442,304
    b7        2048 -> 1024 -> 2048 -> 4096, kernels 1, 3, 1           37,758,976
    bn7       4096                                                         8,192
                                                                     105,070,912

ImageNet's classifier, which is not part of it, has another 4,097,000: 109.2 million.
"""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from tag2mask.config import CaCl, Classifier, DeepLab
from tag2mask.errors import ModelError
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork
from tag2mask.models.channel_dropout import ChannelDropout, channel_dropouts
from tag2mask.models.folding import FoldedNorm
from tag2mask.models.resnet38d import FROZEN, Block, ResNet38d
from tag2mask.models.weights import load_module, save_module

NARROW = {"width": 1 / 16}
BASIC, BOTTLENECK = (3, 3), (1, 3, 1)
TABLE = {
    "b2": ([64, 128, 128], BASIC, 2),
    "b3": ([128, 256, 256], BASIC, 2),
    "b4": ([256, 512, 512], BASIC, 5),
    "b5": ([512, 512, 1024], BASIC, 2),
    "b6": ([1024, 512, 1024, 2048], BOTTLENECK, 0),
    "b7": ([2048, 1024, 2048, 4096], BOTTLENECK, 0),
}
"""Channels, kernels, and how many blocks follow that keep the shape."""
STEPS = ("2a", "2b1", "2b2")


def public_shapes():
    """Return the names and shapes of the public parameters, widths as published."""
    shapes = {"conv1a.weight": (64, 3, 3, 3)}
    for name, (channels, kernels, followers) in TABLE.items():
        blocks = {name: channels}
        after = [channels[-1], *channels[1:]]
        blocks |= {f"{name}_{n}": after for n in range(1, followers + 1)}
        for block, widths in blocks.items():
            for n, kernel in enumerate(kernels):
                norm, conv = (f"{block}.{k}_branch{STEPS[n]}" for k in ("bn", "conv"))
                shapes[f"{conv}.weight"] = (widths[n + 1], widths[n], kernel, kernel)
                shapes |= {f"{norm}.{each}": (widths[n],) for each in NORM}
            if block == name:
                shapes[f"{block}.conv_branch1.weight"] = (widths[-1], widths[0], 1, 1)
    return shapes | {f"bn7.{each}": (4096,) for each in NORM}


NORM = ("weight", "bias", "running_mean", "running_var")


def random_file(path, width=1.0):
    """Write random numbers under the public names."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in public_shapes().items():
        scaled = [
            side if n > 1 or side == 3 else round(side * width)
            for n, side in enumerate(shape)
        ]
        state[name] = torch.rand(scaled, generator=generator)
    if path.suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    return state


@pytest.fixture(scope="module")
def whole():
    """The published network without memory for its numbers."""
    with torch.device("meta"):
        return ResNet38d()


def narrow(output_stride=8, weights="none", **changes):
    return make_backbone(
        "resnet38d",
        weights=str(weights),
        output_stride=output_stride,
        options=NARROW,
        **changes,
    )


def count(name):
    channels, kernels, followers = TABLE[name]
    after = [channels[-1], *channels[1:]]

    def plain(widths):
        convs = sum(
            k * k * a * b for k, a, b in zip(kernels, widths, widths[1:], strict=False)
        )
        return convs + 2 * sum(widths[:-1])

    return plain(channels) + channels[0] * channels[-1] + followers * plain(after)


def test_number_of_parameters(whole):
    found = {
        name: sum(
            p.numel()
            for key, p in whole.named_parameters()
            if key.split(".")[0].split("_")[0] == name
        )
        for name in TABLE
    }
    assert found == {name: count(name) for name in TABLE}
    assert found == {
        "b2": 820_608, "b3": 3_279_616, "b4": 27_274_752, "b5": 26_484_736,
        "b6": 9_442_304, "b7": 37_758_976,
    }  # fmt: skip
    total = sum(found.values()) + 9 * 3 * 64 + 2 * 4096
    assert total == sum(p.numel() for p in whole.parameters()) == 105_070_912


def test_names_and_shapes_are_the_public_ones(whole):
    found = {
        key: tuple(value.shape)
        for key, value in whole.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    assert found == public_shapes()
    # conv1a, 15 basic blocks of 2 and 2 bottlenecks of 3: with the classifier 38
    convs = [key for key in found if key.split(".")[-2].startswith("conv")]
    assert len([key for key in convs if "branch1." not in key]) == 1 + 15 * 2 + 2 * 3
    assert len([key for key in convs if "branch1." in key]) == 6
    assert {"b2.bn_branch2a.weight", "b2.conv_branch2b1.weight"} <= set(found)
    assert {"b2_1.conv_branch2a.weight", "b7.conv_branch2b2.weight"} <= set(found)


@pytest.mark.parametrize(
    ("output_stride", "expected"),
    [
        (8, {"conv1a": 1, "b2": 2, "b3": 4, "b4": 8, "b5": 8, "b6": 8, "b7": 8}),
        (16, {"conv1a": 1, "b2": 2, "b3": 4, "b4": 8, "b5": 16, "b6": 16, "b7": 16}),
        (32, {"conv1a": 1, "b2": 2, "b3": 4, "b4": 8, "b5": 16, "b6": 32, "b7": 32}),
    ],
)
def test_strides(output_stride, expected):
    with torch.device("meta"):
        net = ResNet38d(output_stride=output_stride)
        found = {}
        for name, module in net.named_children():
            module.register_forward_hook(
                lambda _, __, output, name=name: found.update({name: output.shape})
            )
        features = net.forward_features(torch.zeros(1, 3, 448, 448))
    assert {name: 448 // found[name][-1] for name in expected} == expected
    assert features.shape == (1, 4096, 448 // output_stride, 448 // output_stride)
    assert net.num_features == 4096


@pytest.mark.parametrize(
    ("output_stride", "first5", "later5", "wide"),
    [(8, 1, 2, 4), (16, 1, 1, 2), (32, 1, 1, 1)],
)
def test_dilations_stand_for_the_strides_that_were_taken_out(
    output_stride, first5, later5, wide
):
    with torch.device("meta"):
        net = ResNet38d(output_stride=output_stride)
    found = {name: m.dilation[0] for name, m in net.named_modules()
             if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)}  # fmt: skip
    assert found.pop("b5.conv_branch2a") == first5
    assert {found.pop(n) for n in list(found) if n.startswith("b5")} == {later5}
    assert {found.pop(n) for n in list(found) if n[:2] in ("b6", "b7")} == {wide}
    assert set(found.values()) == {1}


def test_dropouts_are_those_of_the_last_two_blocks(whole):
    assert [each.p for each in channel_dropouts(whole)] == [0.3, 0.3, 0.5, 0.5]
    # before the 3x3 and the last 1x1 convolution of b6 and b7
    widths = [each.num_channels for each in channel_dropouts(whole)]
    assert widths == [512, 1024, 1024, 2048]


def test_a_block_of_zeros_is_its_shortcut():
    image = torch.tensor([[[[-3.0, 1.0], [2.0, 4.0]]]])
    same = Block((1, 1, 1)).eval()
    other = Block((1, 1, 2), stride=2).eval()
    for block in (same, other):
        nn.init.zeros_(block.conv_branch2b1.weight)
        nn.init.ones_(block.bn_branch2a.bias)
    nn.init.constant_(other.conv_branch1.weight, 2.0)
    with torch.no_grad():
        assert torch.equal(same(image), image)
        # the shortcut that changes shape sees ReLU(BN(x)): of the first pixel of each
        # 2x2, ReLU(-3 + 1) = 0; moved by 5 up it is 2 (2 + 1) = 6
        assert other(image).flatten().tolist() == [0.0, 0.0]
        found = other(image + 5).flatten()
        torch.testing.assert_close(found, torch.tensor([6.0, 6.0]), rtol=1e-4, atol=0)


def test_a_basic_block_by_the_letter():
    block = Block((2, 3, 4), stride=2, dilations=(1, 2)).eval()
    image = torch.randn(1, 2, 6, 6)
    scale = (1 + 1e-5) ** -0.5
    active = functional.relu(image * scale)
    first = functional.conv2d(active, block.conv_branch2a.weight, None, 2, 1)
    second = functional.conv2d(
        functional.relu(first * scale), block.conv_branch2b1.weight, None, 1, 2, 2
    )
    shortcut = functional.conv2d(active, block.conv_branch1.weight, None, 2)
    with torch.no_grad():
        torch.testing.assert_close(block(image), second + shortcut)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_random_file_of_the_public_names_loads_strictly(tmp_path, suffix):
    path = tmp_path / f"ilsvrc.{suffix}"
    state = random_file(path, NARROW["width"])
    found = narrow(weights=path).net.state_dict()
    assert {key for key in found if "num_batches" not in key} == set(state)
    assert all(torch.equal(found[key], value) for key, value in state.items())


@pytest.mark.slow
def test_the_published_size_loads_strictly(tmp_path):
    path = tmp_path / "ilsvrc.pth"
    state = random_file(path)
    made = make_backbone("resnet38d", weights=str(path), output_stride=8)
    found = made.net.state_dict()
    assert made.num_channels == 4096
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_keys_of_another_file_are_reported(tmp_path):
    path = tmp_path / "other.pth"
    state = random_file(path, NARROW["width"])
    state["fc8.weight"] = torch.zeros(20, 256, 1, 1)
    del state["b6.conv_branch1.weight"], state["bn7.bias"]
    torch.save(state, path)
    with pytest.raises(ModelError) as caught:
        narrow(weights=path)
    assert str(caught.value) == (
        f"{path} is not of resnet38d: 2 keys are missing (b6.conv_branch1.weight, "
        f"bn7.bias), 1 are unknown (fc8.weight)"
    )


def test_no_hub_has_it():
    with pytest.raises(ModelError, match=r"resnet38d is not in the timm hub: name in"):
        narrow(weights="hub")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.3}, r"backbone_options\.width: expected a factor .* got 0\.3"),
        ({"width": True}, r"backbone_options\.width: .* got True"),
        ({"width": "x"}, r"backbone_options\.width: .* got 'x'"),
        ({"width": 0}, r"backbone_options\.width: .* got 0"),
        ({"deep": 1}, "resnet38d has no option deep; backbone_options of it are width"),
        ({"mean": 2.0}, r"backbone_options\.mean: expected 0\.\.1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ModelError, match=message):
        make_backbone("resnet38d", weights="none", output_stride=8, options=options)


def test_misspelt_name_is_hinted_at():
    with pytest.raises(ModelError, match=r"no backbone 'resnet38'; near: .*resnet38d"):
        make_backbone("resnet38", weights="none", output_stride=8)


def test_mean_and_std_are_those_of_imagenet_or_as_told():
    made = make_backbone(
        "resnet38d", weights="none", output_stride=8, options=NARROW | {"mean": 0.5}
    )
    assert made.mean.flatten().tolist() == [0.5] * 3
    expected = torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(made.std.flatten(), expected)


def test_batch_norms_are_folded_into_the_convolutions_before_them():
    made = narrow().double().eval()
    plain = ResNet38d(width=NARROW["width"]).double().eval()
    plain.load_state_dict(made.net.state_dict())
    folded = [m for m in made.modules() if isinstance(m, FoldedNorm)]
    # one in each basic block, two in each bottleneck, and the one behind the stem; the
    # others follow a sum
    assert len(folded) == 15 + 2 * 2 + 1
    image = torch.rand(1, 3, 40, 48).double()
    with torch.no_grad():
        expected = plain.forward_features((image - made.mean) / made.std)
        torch.testing.assert_close(made(image), expected)
    assert made(image).shape == (1, 256, 5, 6)


def test_dilation_can_be_left_out():
    made = narrow(dilate=False)
    assert {m.dilation for m in made.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    assert made(torch.rand(1, 3, 64, 64)).shape[-1] == 8


def test_width_is_alive():
    assert [narrow().num_channels, ResNet38d(width=0.125).num_features] == [256, 512]


def test_stem_and_b2_do_not_train():
    made = narrow()
    made.freeze(batch_norm=True, parts=FROZEN)
    learns = {name for name, p in made.net.named_parameters() if p.requires_grad}
    assert learns == {
        name
        for name in public_shapes()
        if "conv_branch" in name and not name.startswith("b2")
    }
    made.train()
    assert not any(m.training for m in made.modules() if isinstance(m, FoldedNorm))


@pytest.mark.parametrize("table", [Classifier, DeepLab])
def test_they_are_frozen_unless_a_recipe_says_otherwise(table):
    assert table(backbone="resnet38d").freeze == FROZEN
    assert table(backbone="resnet38d", freeze=("conv1a",)).freeze == ("conv1a",)
    assert table(backbone="resnet38d", freeze=()).freeze == ()
    assert table(backbone="resnet50").freeze == ()


def test_so_they_are_of_a_voter_that_texts_teach():
    table = CaCl(method="ca_cl", backbone="resnet38d")
    assert (table.freeze, table.classifier.freeze) == (FROZEN, FROZEN)
    own = {"classifier": {"freeze": ("b3",)}, "freeze": ("b4",)}
    table = CaCl(method="ca_cl", backbone="resnet38d", **own)
    assert (table.freeze, table.classifier.freeze) == (("b4",), ("b3",))
    assert CaCl(method="ca_cl").classifier.freeze[0] == "conv1"  # as it was


@pytest.mark.parametrize(
    ("layer", "last", "in_b7"), [("dropout7", 0.2, 0.5), ("b7", 0.0, 0.2)]
)
def test_the_dropout_of_a_voter_has_two_places(layer, last, in_b7):
    network = CamNetwork(narrow(), num_tags=2, dropout=0.2, dropout_layer=layer)
    block = network.backbone.net.get_submodule("b7")
    assert network.dropout.p == last
    assert [each.p for each in channel_dropouts(block)] == [in_b7] * 2
    assert {each.p for each in network.last_dropouts} == {0.2}
    assert len(network.last_dropouts) == (1 if layer == "dropout7" else 2)


def test_only_this_network_has_b7():
    backbone = make_backbone("test_resnet", weights="none", output_stride=8)
    with pytest.raises(ModelError, match="dropout_layer = 'b7' is for the backbone"):
        CamNetwork(backbone, num_tags=2, dropout=0.2, dropout_layer="b7")


def test_a_trained_one_is_saved_and_loaded(tmp_path):
    first, second = (CamNetwork(narrow(), num_tags=2, dropout=0.2) for _ in range(2))
    save_module(first, tmp_path / "w.safetensors")
    load_module(second, tmp_path / "w.safetensors", name="it")
    image = torch.rand(1, 3, 32, 32)
    first.eval(), second.eval()
    with torch.no_grad():
        assert torch.equal(first(image), second(image))


def test_channel_dropout_drops_whole_channels_while_training():
    layer = ChannelDropout(0.5, 64).train()
    found = layer(torch.ones(1, 64, 2, 2))
    assert set(found.flatten().tolist()) == {0.0, 2.0}
    assert all(len(set(channel.flatten().tolist())) == 1 for channel in found[0])
