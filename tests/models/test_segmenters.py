import json

import pytest
import torch

from tag2mask.errors import ModelError
from tag2mask.models.backbones import make_backbone
from tag2mask.models.cam_network import CamNetwork, multi_label_loss
from tag2mask.models.deeplab import ASPP_RATES, upsample
from tag2mask.models.segmenters import load_segmenter, make_network, write_card
from tag2mask.models.weights import save_module

CARD = {
    "network": "deeplab_v2",
    "backbone": "test_resnet",
    "backbone_options": {"mean": 0.5, "std": 0.25},
    "output_stride": 8,
    "dilate": True,
    "rates": None,
    "neck": 0,
    "class_names": ["background", "cat", "dog"],
    "init": "test_resnet: random",
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def backbone(**changes):
    settings = {"weights": "none", "output_stride": 8}
    return make_backbone("test_resnet", **(settings | changes))


def saved(folder, **changes):
    card = CARD | changes
    folder.mkdir(exist_ok=True)
    network = make_network(
        backbone(options=card["backbone_options"], dilate=card["dilate"]),
        card["network"],
        num_classes=len(card["class_names"]),
        rates=card["rates"],
        neck=card["neck"],
    ).eval()
    write_card(folder, card)
    save_module(network, folder / "weights.safetensors")
    return network


@pytest.mark.parametrize("network", ["deeplab_v1", "deeplab_v2"])
@pytest.mark.parametrize("dilate", [True, False])
def test_loaded_segmenter_gives_the_same_logits(tmp_path, network, dilate):
    made = saved(tmp_path, network=network, dilate=dilate)
    found = load_segmenter(tmp_path)
    images = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        assert torch.equal(found.network(images), made(images))
    assert found.class_names == ("background", "cat", "dog")
    assert found.card["init"] == "test_resnet: random"
    assert not found.network.training


def test_rates_are_part_of_the_card(tmp_path):
    saved(tmp_path, rates=[2, 3])
    head = load_segmenter(tmp_path).network.head
    assert [branch.dilation[0] for branch in head] == [2, 3]


def test_a_neck_is_part_of_the_card_and_older_cards_have_none(tmp_path):
    made = saved(tmp_path, neck=32, rates=[2, 3])
    found = load_segmenter(tmp_path).network
    images = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        assert torch.equal(found(images), made(images))
    saved(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    del card["neck"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert isinstance(load_segmenter(tmp_path).network.neck, torch.nn.Identity)


def test_a_neck_is_normalised_in_groups_and_never_negative():
    made = make_network(backbone(), "deeplab_v2", num_classes=3, rates=(1,), neck=32)
    narrowed = made.neck(made.backbone(torch.rand(2, 3, 40, 48)))
    assert narrowed.shape == (2, 32, 5, 6)
    assert (narrowed >= 0).all()
    before = made.neck[:2](made.backbone(torch.rand(2, 3, 40, 48)))
    groups = before.unflatten(1, (16, 2)).flatten(2)
    torch.testing.assert_close(groups.mean(2), torch.zeros(2, 16), atol=1e-4, rtol=0)
    assert [branch.in_channels for branch in made.head] == [32]


def test_backbone_options_are_part_of_the_card(tmp_path):
    saved(tmp_path)
    found = load_segmenter(tmp_path).network.backbone
    assert found.mean.flatten().tolist() == [0.5] * 3
    assert found.std.flatten().tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("network", "branches"), [("deeplab_v1", 1), ("deeplab_v2", 4)]
)
def test_logits_are_the_sum_of_the_branches(network, branches):
    made = make_network(backbone(), network, num_classes=5).eval()
    assert len(made.head) == branches
    images = torch.rand(1, 3, 64, 72)
    with torch.no_grad():
        for branch in made.head:
            branch.bias.uniform_()
        features = made.backbone(images)
        logits = made(images)
        assert logits.shape == (1, 5, 8, 9)
        total = sum(branch(features) for branch in made.head)
    torch.testing.assert_close(logits, total)


def test_rates_are_those_of_the_papers():
    made = make_network(backbone(), "deeplab_v2", num_classes=2)
    assert [b.dilation for b in made.head] == [(r, r) for r in (6, 12, 18, 24)]
    assert ASPP_RATES == (6, 12, 18, 24)
    (branch,) = make_network(backbone(), "deeplab_v1", num_classes=2).head
    assert branch.dilation == branch.padding == (12, 12)


def test_rates_keep_their_reach_in_pixels_at_another_stride():
    made = make_network(backbone(output_stride=16), "deeplab_v2", num_classes=2)
    assert [b.dilation[0] for b in made.head] == [3, 6, 9, 12]


def test_gradients_are_those_of_the_branches():
    made = make_network(backbone(), "deeplab_v2", num_classes=3, rates=(1, 2)).eval()
    images = torch.rand(2, 3, 48, 40)
    wanted = [made(images), sum(branch(made.backbone(images)) for branch in made.head)]
    fast, slow = (
        torch.autograd.grad(each.square().sum(), list(made.head.parameters()))
        for each in wanted
    )
    torch.testing.assert_close(fast, slow)


def test_logits_are_upsampled_between_pixel_centres():
    # centres of 4 pixels over 2: -0.25 (held at 0), 0.25, 0.75, 1.25 (held at 1)
    logits = torch.tensor([0.0, 4.0]).view(1, 1, 1, 2)
    assert upsample(logits, (1, 4)).flatten().tolist() == [0, 1, 3, 4]


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError) as caught:
        load_segmenter(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no segmenter: expected model.json and weights.safetensors "
        f"in it"
    )


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ([], "is no card of a segmenter: it lacks backbone, backbone_options, class_"),
        ({"network": "x"}, "it lacks backbone, backbone_options, class_names, dilate,"),
        (
            CARD | {"network": "unet"},
            "network 'unet' is unknown; this version has deep",
        ),
        (CARD | {"backbone": "test_resnt"}, "timm has no backbone 'test_resnt'; near"),
    ],
)
def test_card_of_something_else(tmp_path, card, message):
    saved(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=message):
        load_segmenter(tmp_path)


def test_weights_of_another_network_are_refused(tmp_path):
    saved(tmp_path, network="deeplab_v1")
    write_card(tmp_path, CARD)
    with pytest.raises(
        ModelError, match=r"is not of deeplab_v2 of .*6 keys are missing"
    ):
        load_segmenter(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="there is no weights file"):
        load_segmenter(tmp_path)


def test_tag_logits_are_the_mean_of_their_maps():
    network = CamNetwork(backbone(), num_tags=3, dropout=0.5).eval()
    images = torch.rand(2, 3, 32, 40)
    with torch.no_grad():
        maps = network.logit_maps(images)
        assert maps.shape == (2, 3, 4, 5)
        torch.testing.assert_close(network(images), maps.mean(dim=(2, 3)))
        # no bias: w . f of the features alone
        features = network.backbone(images)
        weight = network.head.weight[:, :, 0, 0]
        expected = torch.einsum("tc,bchw->bthw", weight, features)
    assert network.head.bias is None
    torch.testing.assert_close(maps, expected)


def test_dropout_drops_whole_channels_while_training():
    network = CamNetwork(backbone(), num_tags=2, dropout=0.5).train()
    dropped = network.dropout(torch.ones(1, 400, 3, 3))
    # a channel is all zero, or all 1 / (1 - 0.5)
    assert set(dropped.flatten(2).mean(2).flatten().tolist()) == {0.0, 2.0}
    assert 140 < (dropped[0, :, 0, 0] == 0).sum() < 260  # 200 +- 10, six deviations
    none = CamNetwork(backbone(), num_tags=2, dropout=0.0).train()
    assert torch.equal(none.dropout(dropped), dropped)


def test_multi_label_loss_by_hand():
    # tags (1, 0), logits (0, 0): both terms are ln 2, their mean too
    loss = multi_label_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(0.693147, abs=1e-6)
    # logits (2, -1), tags (1, 1): ln(1 + e^-2) = 0.126928, ln(1 + e) = 1.313262
    loss = multi_label_loss(torch.tensor([[2.0, -1.0]]), torch.ones(1, 2))
    assert loss.item() == pytest.approx(0.720095, abs=1e-6)


STRANGE = {
    "network": "deeplab_v2",
    "class_names": ["background", "cat"],
    "backbone": "test_resnet",
    "backbone_options": {},
    "output_stride": 8,
    "dilate": True,
    "rates": [1, 2],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": ["deeplab_v2"]}, "network .* is unknown"),
        ({"class_names": 5}, "class_names must be 1 to 255 names"),
        ({"class_names": []}, "class_names must be"),
        ({"class_names": ["a", 1]}, "class_names must be"),
        ({"backbone": ["resnet50"]}, "backbone must be a name"),
        ({"backbone_options": []}, "backbone_options must be a table"),
        ({"backbone_options": {"a": {}}}, "backbone_options must be a table"),
        ({"backbone_options": {"..": []}}, "must be a table of numbers and texts, got"),
        ({"output_stride": 7}, "output_stride must be 8, 16 or 32"),
        ({"dilate": 1}, "dilate must be true or false"),
        ({"rates": [0]}, "rates must be whole numbers from 1 to 1024"),
        ({"rates": [10**9]}, "rates must be"),
        ({"rates": [True]}, "rates must be"),
        ({"neck": 24}, "neck must be 0 to 4096 by 16, got 24"),
        ({"neck": True}, "neck must be"),
        ({"network": "segformer", "variant": "b9", "options": {}}, "no variant 'b9'"),
    ],
)
def test_a_card_that_no_stage_wrote_is_told(tmp_path, change, said):
    (tmp_path / "model.json").write_text(json.dumps(STRANGE | change))
    with pytest.raises(ModelError, match=said):
        load_segmenter(tmp_path)


def test_a_card_cannot_have_a_pickle_run(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    torch.save(Evil(), tmp_path / "evil.pth")
    for key in ("checkpoint_path", "pretrained_cfg", "cache_dir"):
        card = STRANGE | {"backbone_options": {key: str(tmp_path / "evil.pth")}}
        (tmp_path / "model.json").write_text(json.dumps(card))
        with pytest.raises(ModelError, match=f"backbone_options.{key} is not taken"):
            load_segmenter(tmp_path)
    assert not ran.exists()
