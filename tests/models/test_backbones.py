import pytest
import torch
from torch import nn

from tag2mask.errors import ModelError
from tag2mask.models import backbones, dilation
from tag2mask.models.backbones import make_backbone
from tag2mask.models.dilation import SpaceToBatchConv2d


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def backbone(name, output_stride=16, **changes):
    return make_backbone(
        name, **({"weights": "none", "output_stride": output_stride} | changes)
    )


def dilations(net):
    return {m.dilation[0] for m in net.modules() if isinstance(m, nn.Conv2d)}


@pytest.mark.parametrize("size", [(7, 9), (8, 12), (1, 1), (13, 2)])
@pytest.mark.parametrize("dilation", [2, 3, 4])
@pytest.mark.parametrize(("kernel", "groups", "bias"), [(3, 4, False), (5, 1, True)])
def test_space_to_batch_is_a_dilated_convolution(size, dilation, kernel, groups, bias):
    padding = dilation * (kernel - 1) // 2
    settings = {"dilation": dilation, "groups": groups, "bias": bias}
    slow = nn.Conv2d(4, 8, kernel, padding=padding, **settings).double()
    fast = SpaceToBatchConv2d(4, 8, kernel, padding=padding, **settings).double()
    fast.load_state_dict(slow.state_dict())
    inputs = [torch.randn(2, 4, *size).double().requires_grad_() for _ in range(1)] * 2
    outputs = [conv(each) for conv, each in zip((slow, fast), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    weights = torch.randn_like(outputs[0])
    gradients = [
        torch.autograd.grad((output * weights).sum(), [inputs[0], *conv.parameters()])
        for output, conv in zip(outputs, (slow, fast), strict=True)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "resnet10t"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_output_stride(name, output_stride):
    made = backbone(name, output_stride).eval()
    with torch.no_grad():
        features = made(torch.rand(1, 3, 64, 72))
        odd = made(torch.rand(1, 3, 61, 70))
    side = 64 // output_stride
    assert features.shape == (1, made.num_channels, side, -(-72 // output_stride))
    assert odd.shape[-2:] == features.shape[-2:]
    assert made.output_stride == output_stride


def test_fast_dilation_changes_no_feature(monkeypatch):
    monkeypatch.setattr(backbones, "fold_batch_norms", lambda *_: 0)
    fast = backbone("mobilenetv2_100", 8).eval()
    monkeypatch.setattr(dilation, "_without_slow_dilation", lambda conv: conv)
    slow = backbone("mobilenetv2_100", 8).eval()
    slow.load_state_dict(fast.state_dict())
    kinds = [{type(m) for m in each.modules()} for each in (fast, slow)]
    assert [SpaceToBatchConv2d in each for each in kinds] == [True, False]
    images = torch.rand(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(fast(images), slow(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "test_nfnet"])
def test_dilation_is_a_choice(name):
    dilated, plain = backbone(name, 8).eval(), backbone(name, 8, dilate=False).eval()
    assert (len(dilations(dilated)) > 1, dilations(plain)) == (True, {1})
    with torch.no_grad():
        for parameter in dilated.parameters():  # residual branches begin at nothing
            parameter.add_(0.1 * torch.rand_like(parameter))
    plain.load_state_dict(dilated.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        one, other = dilated(images), plain(images)
    assert one.shape == other.shape
    assert not torch.allclose(one, other)


class Standardised(nn.Conv2d):
    """A convolution that does more than to convolve."""


@pytest.mark.parametrize(
    "conv",
    [
        Standardised(4, 4, 3, padding=2, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=0, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2),
    ],
    ids=["subclass", "padding", "stride", "groups"],
)
def test_only_equal_convolutions_are_made_faster(conv):
    assert dilation._without_slow_dilation(conv) is conv


def test_dilated_standardised_convolutions_stay_standardised():
    made = backbone("test_nfnet", 8, dilate=False)
    convolutions = [m for m in made.net.modules() if isinstance(m, nn.Conv2d)]
    kinds = {type(m).__name__ for m in convolutions if m.kernel_size == (3, 3)}
    assert kinds == {"ScaledStdConv2d"}


@pytest.mark.parametrize("name", ["test_vit", "vit_tiny_patch16_224"])
def test_transformer_gives_a_map_of_images_of_any_size(name):
    made = backbone(name).eval()
    with torch.no_grad():
        features = made(torch.rand(2, 3, 48, 80))
    assert features.shape == (2, made.num_channels, 3, 5)


@pytest.mark.parametrize("output_stride", [8, 32])
def test_wrong_stride_of_a_transformer_names_the_right_one(output_stride):
    message = (
        f"backbone test_vit has output stride 16, not {output_stride}; set output_s"
    )
    with pytest.raises(ModelError, match=message):
        backbone("test_vit", output_stride)


@pytest.mark.parametrize(
    ("name", "options"), [("crossvit_9_240", {}), ("test_vit", {"patch_size": 14})]
)
def test_backbone_that_takes_no_such_image_says_so(name, options):
    with pytest.raises(ModelError, match=rf"{name} gives no feature map .* of 64 px"):
        backbone(name, options=options)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(ModelError, match=r"no backbone 'resnet5O'; near: .*resnet50\b"):
        backbone("resnet5O")
    with pytest.raises(ModelError, match=r"timm has no backbone 'qqqqqqq'$"):
        backbone("qqqqqqq")


def test_inputs_are_normalised_by_the_models_mean_and_std():
    made = backbone("test_resnet").eval()
    mean, std = (made.net.pretrained_cfg[key] for key in ("mean", "std"))
    image = torch.rand(1, 3, 32, 32)
    by_hand = torch.stack(
        [(image[0, c] - mean[c]) / std[c] for c in range(3)]
    ).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(made(image), made.net.forward_features(by_hand))


def test_mean_and_std_may_be_those_of_other_weights():
    made = backbone("test_resnet", options={"mean": 0.5, "std": 0.25})
    assert made.mean.flatten().tolist() == [0.5] * 3
    assert made.std.flatten().tolist() == [0.25] * 3
    other = backbone("test_resnet", options={"mean": 0})
    assert other.mean.flatten().tolist() == [0] * 3
    assert (
        other.std.flatten().tolist() == backbone("test_resnet").std.flatten().tolist()
    )


@pytest.mark.parametrize("value", ["half", 127.5, True])
def test_mean_is_a_number_between_0_and_1(value):
    with pytest.raises(
        ModelError, match=r"backbone_options\.mean: expected 0\.\.1, got"
    ):
        backbone("test_resnet", options={"mean": value})


def test_option_passes_through():
    # PyTorch pads a stride-2 convolution by 1 at both ends, TensorFlow at the far end
    plain = backbone("mobilenetv2_100", 32).eval()
    same = backbone("mobilenetv2_100", 32, options={"pad_type": "same"}).eval()
    same.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(plain(image), same(image))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"wrong": 1}, r"options wrong = 1 \(TypeError: .*'wrong'\); backbone_options"),
        ({"act_layer": "no"}, r"options act_layer = 'no' \(KeyError: 'no'\)"),
        ({"features_only": True}, "cannot be used with options"),
        ({"in_chans": 1}, "gives no feature map of an RGB image"),
    ],
)
def test_wrong_option_is_told_as_such(options, reason):
    with pytest.raises(ModelError, match=f"backbone resnet10t .*{reason}"):
        backbone("resnet10t", options=options)


@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("no weights")])
def test_weights_that_the_hub_does_not_give(monkeypatch, error):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr(backbones.timm, "create_model", offline)
    message = r"weights of resnet10t cannot be had from the hub .*; name a local file"
    with pytest.raises(ModelError, match=message):
        backbone("resnet10t", weights="hub")


def test_hub_asks_for_pretrained_weights(monkeypatch):
    create, asked = backbones.timm.create_model, []

    def watched(name, pretrained, **options):
        asked.append(pretrained)
        return create(name, False, **options)

    monkeypatch.setattr(backbones.timm, "create_model", watched)
    backbone("test_resnet", weights="hub")
    backbone("test_resnet", weights="none")
    assert asked == [True, False]


def norms(net):
    return [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]


def test_frozen_part_does_not_train_and_its_neighbour_does():
    made = backbone("test_resnet")
    made.freeze(batch_norm=False, parts=["layer1", "conv1"])
    made.train()
    frozen = {n for n, p in made.net.named_parameters() if not p.requires_grad}
    assert frozen == {
        n
        for n, _ in made.net.named_parameters()
        if n.split(".")[0] in ("layer1", "conv1")
    }
    before = {n: v.clone() for n, v in made.net.state_dict().items()}
    made(torch.rand(2, 3, 32, 32)).sum().backward()
    changed = {n for n, v in made.net.state_dict().items() if not v.equal(before[n])}
    assert changed
    assert not any(name.startswith("layer1") for name in changed)
    assert any(name.startswith("layer2") for name in changed)


def test_prefix_is_of_whole_names():
    made = backbone("mobilenetv2_100")
    made.freeze(batch_norm=False, parts=["blocks.1"])
    frozen = {n for n, p in made.net.named_parameters() if not p.requires_grad}
    assert {".".join(n.split(".")[:2]) for n in frozen} == {"blocks.1"}


@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norms_are_frozen_whatever_the_mode(batch_norm):
    made = backbone("test_resnet")
    made.freeze(batch_norm=batch_norm, parts=[])
    for mode in (True, False, True):
        assert made.train(mode) is made
        assert {n.training for n in norms(made)} == {mode and not batch_norm}
    assert {p.requires_grad for n in norms(made) for p in n.parameters()} == {
        not batch_norm
    }
    assert made.net.conv1[0].weight.requires_grad
    before = norms(made)[0].running_mean.clone()
    made(torch.rand(2, 3, 32, 32))
    assert torch.equal(norms(made)[0].running_mean, before) == batch_norm


@pytest.mark.parametrize("part", ["layer9", "", "layer"])
def test_part_that_is_none_names_those_that_are(part):
    message = f"freeze: no part '{part}'; top-level parts: conv1, .*layer1, layer2"
    with pytest.raises(ModelError, match=message):
        backbone("test_resnet").freeze(batch_norm=False, parts=[part])


def test_building_leaves_training_mode_and_statistics_alone():
    made = backbone("test_resnet")
    assert made.training
    assert made.net.training
    assert all(not n.running_mean.any() for n in norms(made))
