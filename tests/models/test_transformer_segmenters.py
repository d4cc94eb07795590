import json
import sys

import pytest
import torch
import transformers

from tag2mask.errors import ModelError
from tag2mask.functional.query_maps import semantic_logits
from tag2mask.models.segmenters import load_segmenter, write_card
from tag2mask.models.transformer_segmenters import (
    MIT_WEIGHTS,
    SWIN_WEIGHTS,
    make_mask2former,
    make_segformer,
)
from tag2mask.models.weights import save_module

MIT = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 16, 16],
    "num_attention_heads": [1, 1, 1, 1],
    "decoder_hidden_size": 16,
}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]}
QUERIES = {
    "feature_size": 64,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "num_queries": 5,
    "encoder_layers": 1,
    "decoder_layers": 3,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "num_attention_heads": 2,
}


def segformer(**changes):
    knobs = {"num_classes": 3, "options": MIT} | changes
    return make_segformer("b0", **knobs).eval()


def mask2former(**changes):
    knobs = {"num_classes": 3, "options": QUERIES, "backbone_options": SWIN}
    return make_mask2former("swin-tiny", **knobs | changes).eval()


MAKERS = {"segformer": segformer, "mask2former": mask2former}
each = pytest.mark.parametrize("network", MAKERS)


@each
@pytest.mark.parametrize("size", [(32, 32), (45, 70), (97, 64)])
def test_logits_of_images_of_any_size(network, size):
    with torch.no_grad():
        logits = MAKERS[network]()(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, -(-size[0] // 4), -(-size[1] // 4))
    assert logits.isfinite().all()


@each
def test_images_are_normalised_inside(network):
    made = MAKERS[network]()
    seen = []
    made.backbone.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    with torch.no_grad():
        made(made.backbone.mean.expand(1, 3, 64, 64))
        made((made.backbone.mean + made.backbone.std).expand(1, 3, 64, 64))
    assert seen[0][0].abs().max() < 1e-6
    torch.testing.assert_close(seen[1][0], torch.ones(1, 3, 64, 64))


@each
def test_parts_are_backbone_and_head(network):
    made = MAKERS[network]()
    assert {name for name, _ in made.named_children()} == {"backbone", "head"}
    total = sum(p.numel() for p in made.parameters())
    net = sum(p.numel() for p in made.backbone.net.parameters())
    assert 0 < net < total


def test_mask2former_reads_its_queries_as_a_map():
    made, images = mask2former(), torch.rand(2, 3, 40, 32)
    with torch.no_grad():
        queries = made(images, as_queries=True)
        assert queries.classes.shape == (3, 2, 5, 4)  # two layers, and before the first
        assert queries.masks.shape == (3, 2, 5, 10, 8)
        expected = semantic_logits(queries.classes[-1], queries.masks[-1])
        assert torch.equal(made(images), expected)


def test_segformer_is_that_of_transformers():
    config = transformers.SegformerConfig(**MIT, num_labels=3)
    net = transformers.SegformerForSemanticSegmentation(config).eval()
    made = segformer()
    made.backbone.net.load_state_dict(net.segformer.state_dict())
    made.head.load_state_dict(net.decode_head.state_dict())
    images = torch.rand(1, 3, 64, 32)
    normalised = (images - made.backbone.mean) / made.backbone.std
    with torch.no_grad():
        torch.testing.assert_close(made(images), net(normalised).logits)


@pytest.mark.parametrize(
    ("variant", "millions"), [("b0", 3.8), ("b1", 13.7), ("b2", 27.5)]
)
def test_variants_have_the_parameters_of_their_paper(variant, millions):
    # SegFormer, table 1, which counts for 150 classes
    with torch.device("meta"):
        made = make_segformer(variant, num_classes=150)
    count = sum(p.numel() for p in made.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.1)


@each
def test_every_option_is_alive(network):
    options = {"segformer": {"drop_path_rate": 0.9}, "mask2former": {"num_queries": 6}}
    base = MIT if network == "segformer" else QUERIES
    changed = MAKERS[network](options=base | options[network])
    plain = MAKERS[network]()
    assert str(changed) != str(plain)


def test_options_of_the_backbone_are_alive():
    other = mask2former(backbone_options=SWIN | {"embed_dim": 16})
    assert len(other.state_dict()) == len(mask2former().state_dict())
    assert any(
        one.shape != two.shape
        for one, two in zip(other.parameters(), mask2former().parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: segformer(options={"depth": [1]}),
            "options: SegformerConfig has no option 'depth'; did you mean 'depths'?",
        ),
        (
            lambda: mask2former(backbone_options={"x": 1}),
            "backbone_options: SwinConfig has no option 'x'",
        ),
        (
            lambda: segformer(options={"depths": "deep"}),
            "options: SegformerConfig refuses it",
        ),
        (
            lambda: segformer(options=MIT | {"hidden_sizes": [8, 16, 16]}),
            "segformer b0 cannot be built with this options",
        ),
        (  # is built, but does not run
            lambda: segformer(options=MIT | {"num_channels": 4}),
            "segformer b0 cannot be built with this options",
        ),
        (
            lambda: mask2former(options=QUERIES | {"feature_size": 31}),
            "mask2former swin-tiny cannot be built with this options or backbone_op",
        ),
    ],
)  # fmt: skip
def test_options_that_cannot_be(make, message):
    with pytest.raises(ModelError) as caught:
        make()
    assert str(caught.value).startswith(message)


@each
def test_weights_of_a_local_folder_are_those_of_the_encoder(network, tmp_path):
    if network == "segformer":
        config = transformers.SegformerConfig(**MIT, num_labels=9)
        saved = transformers.SegformerForImageClassification(config)
        theirs = saved.segformer.state_dict()
    else:
        config = transformers.SwinConfig(**SWIN, num_labels=9)
        saved = transformers.SwinForImageClassification(config)
        theirs = {f"swin.{k}": v for k, v in saved.swin.state_dict().items()}
    saved.save_pretrained(tmp_path)
    one, other = MAKERS[network](weights=str(tmp_path)), MAKERS[network]()
    ours = one.backbone.net.state_dict()
    common = [name for name in theirs if name in ours]
    assert len(common) > 20
    assert all(torch.equal(ours[name], theirs[name]) for name in common)
    assert any(
        not torch.equal(ours[name], other.backbone.net.state_dict()[name])
        for name in common
    )


def test_encoder_of_a_whole_mask2former_is_taken(tmp_path):
    swin = transformers.SwinConfig(
        **SWIN, out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.Mask2FormerConfig(**QUERIES, backbone_config=swin)
    saved = transformers.Mask2FormerModel(config)
    saved.save_pretrained(tmp_path)
    found = mask2former(weights=str(tmp_path)).backbone.net.state_dict()
    theirs = saved.pixel_level_module.encoder.state_dict()
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "there is no folder "),
        ({"model_type": "segformer"}, "holds no weights in safetensors files"),
    ],
)
def test_folder_without_weights(tmp_path, config, message):
    folder = tmp_path / "weights"
    if config is not None:
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        segformer(weights=str(folder))


def test_weights_of_another_variant_are_refused(tmp_path):
    config = transformers.SegformerConfig(**MIT | {"hidden_sizes": [8, 8, 8, 8]})
    transformers.SegformerModel(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=str(tmp_path)):
        segformer(weights=str(tmp_path))


def test_hub_is_the_weights_of_the_variant(monkeypatch):
    asked = []

    def refuse(name):
        asked.append(name)
        raise ModelError("not here")

    package = "tag2mask.models.transformer_segmenters"
    monkeypatch.setattr(
        f"{package}.segformer.load_network", lambda _, name, __: refuse(name)
    )
    monkeypatch.setattr(f"{package}.mask2former.load_config", refuse)
    for make in (segformer, mask2former):
        for weights in ("hub", "some/where"):
            with pytest.raises(ModelError, match="not here"):
                make(weights=weights)
    assert asked == [
        MIT_WEIGHTS["b0"], "some/where", SWIN_WEIGHTS["swin-tiny"], "some/where",
    ]  # fmt: skip


@each
def test_frozen_parts_take_no_gradient(network):
    made = MAKERS[network]()
    top = next(name for name, _ in made.backbone.net.named_children())
    made.backbone.freeze([top])
    frozen = [p for p in made.parameters() if not p.requires_grad]
    assert frozen
    with pytest.raises(ModelError, match="freeze: no part 'nowhere'; top-level parts"):
        made.backbone.freeze(["nowhere"])


@each
def test_saved_segmenter_is_loaded_with_the_same_logits(network, tmp_path):
    made = MAKERS[network]()
    card = {
        "network": network,
        "variant": "b0" if network == "segformer" else "swin-tiny",
        "options": MIT if network == "segformer" else QUERIES,
        "backbone_options": SWIN,
        "class_names": ["background", "cat", "dog"],
    }
    write_card(tmp_path, card)
    save_module(made, tmp_path / "weights.safetensors")
    found = load_segmenter(tmp_path)
    images = torch.rand(1, 3, 40, 36)
    with torch.no_grad():
        assert torch.equal(found.network(images), made(images))
    assert found.class_names == ("background", "cat", "dog")
    del card["variant"]
    write_card(tmp_path, card)
    with pytest.raises(ModelError, match="no card of a segmenter: it lacks variant"):
        load_segmenter(tmp_path)


@each
def test_missing_library_says_what_to_install(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError) as caught:
        MAKERS[network]()
    assert str(caught.value) == (
        "the segmenters segformer and mask2former need transformers; install it with "
        'pip install "tag2mask[transformers]"'
    )
