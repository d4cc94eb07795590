import pytest
import torch
from torch import nn

from tag2mask.errors import ModelError
from tag2mask.models.backbones import Backbone, make_backbone
from tag2mask.models.irnet import IrNet


@pytest.fixture(scope="module")
def backbone():
    return make_backbone("test_resnet", weights="none", output_stride=16)


def network(backbone, **knobs):
    return IrNet(backbone, **{"displacement": False} | knobs)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 50), (1, 7), (40, 600)])
def test_boundaries_of_an_image_of_any_size(backbone, height, width):
    images = torch.rand(2, 3, height, width)
    edges = network(backbone).eval().edges(images)
    assert edges.shape == (2, -(-height // 4), -(-width // 4))
    assert ((edges >= 0) & (edges <= 1)).all()


@pytest.mark.parametrize("width", [48, 64])
def test_a_mirror_image_has_mirrored_boundaries(backbone, width):
    irnet = network(backbone).eval()
    images = torch.rand(1, 3, 32, width)
    edges, mirrored = irnet.edges(images), irnet.edges(images.flip(-1))
    torch.testing.assert_close(mirrored.flip(-1), edges)
    assert edges.std() > 0


def test_the_mean_is_of_logits(backbone):
    irnet = network(backbone).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        one, other = irnet(images).logits, irnet(images.flip(-1)).logits.flip(-1)
    torch.testing.assert_close(irnet.edges(images), ((one + other) / 2).sigmoid())


def test_only_the_heads_learn(backbone):
    irnet = network(backbone, displacement=True).train()
    learning = {n.split(".")[0] for n, p in irnet.named_parameters() if p.requires_grad}
    assert learning == {"edge", "head"}
    assert not any(module.training for module in irnet.backbone.modules())
    before = {k: v.clone() for k, v in irnet.backbone.state_dict().items()}
    sum(each.sum() for each in irnet(torch.rand(2, 3, 48, 48))).backward()
    assert all(p.grad is not None for p in irnet.edge.parameters())
    assert all(p.grad is not None for p in irnet.head.parameters())
    after = irnet.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_displacement_has_no_influence_on_the_boundaries(backbone):
    with_head = network(backbone, displacement=True).eval()
    without = network(backbone).eval()
    without.edge.load_state_dict(with_head.edge.state_dict())
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        one, other = with_head(images), without(images)
    torch.testing.assert_close(one.logits, other.logits)
    assert one.displacement.shape == (1, 2, 8, 12)
    assert other.displacement is None


@pytest.mark.parametrize(
    ("name", "output_stride", "num_branches"),
    [("test_vit", 16, 5), ("test_convnext", 32, 4), ("test_efficientnet", 8, 5)],
)
def test_backbones_of_other_kinds(name, output_stride, num_branches):
    backbone = make_backbone(name, weights="none", output_stride=output_stride)
    irnet = network(backbone).eval()
    assert len(irnet.edge.branches) == num_branches
    assert irnet.edges(torch.rand(1, 3, 50, 70)).shape == (1, 13, 18)


def test_resnet38d_gives_its_stages():
    backbone = make_backbone(
        "resnet38d", weights="none", output_stride=8, options={"width": 0.0625}
    ).eval()
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        maps = backbone.net.forward_intermediates(
            (images - backbone.mean) / backbone.std,
            intermediates_only=True,
            output_fmt="NCHW",
        )
        last = backbone(images)
    # 128, 256, 512, 1024 and 4096 channels at a sixteenth; strides of 2 begin b2 to b4
    assert [each.shape[1] for each in maps] == [8, 16, 32, 64, 256]
    assert [each.shape[2] for each in maps] == [16, 8, 4, 4, 4]
    torch.testing.assert_close(maps[-1], last)
    assert len(network(backbone).edge.branches) == 5
    with pytest.raises(ValueError, match="intermediates_only=True"):
        backbone.net.forward_intermediates(
            images, intermediates_only=False, output_fmt="NCHW"
        )


class WithoutStages(nn.Module):
    num_features = 4

    def __init__(self):
        super().__init__()
        self.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
        self.conv = nn.Conv2d(3, 4, 16, stride=16)

    def forward_features(self, images):
        return self.conv(images)


def test_a_backbone_without_stages_is_told():
    backbone = Backbone(WithoutStages(), output_stride=16)
    with pytest.raises(ModelError, match=r"WithoutStages .* refine\.network = \{ back"):
        network(backbone)
