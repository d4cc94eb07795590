"""Image-text models that tell what is where, and the maps of texts that they give."""

import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

import image_text_fakes as fakes
from image_text_fakes import timm, transformers
from tag2mask.errors import ModelError
from tag2mask.models.image_text.clip import load_clip
from tag2mask.models.image_text.conse import Conse, load_conse
from tag2mask.models.image_text.sentences import load_sentence_encoder
from tag2mask.models.image_text.tiny import load_tiny
from tag2mask.models.text_maps import TextMaps, class_texts
from tag2mask.testing import check_dense_image_text_model

VARIANTS = pytest.mark.parametrize("variant", ["probabilities", "weights"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("dense")
    return {
        "clip": fakes.write_clip(root / "clip"),
        "siglip": fakes.write_siglip(root / "siglip"),
        "sentences": fakes.write_sentences(root / "sentences"),
    }


@pytest.fixture(scope="module")
def conse(folders):
    """A random classifier of four classes with ConSE around it."""
    sentences = load_sentence_encoder(str(folders["sentences"]))
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", num_classes=4).eval()
    names = ["cat", "dog", "sheep", "railway track"]
    return lambda variant: Conse(net, sentences, class_names=names, variant=variant)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_clip_keeps_the_contract(kind, folders):
    check_dense_image_text_model(load_clip(str(folders[kind])))


@VARIANTS
def test_conse_keeps_the_contract(conse, variant):
    check_dense_image_text_model(conse(variant))


def test_tiny_keeps_the_contract():
    check_dense_image_text_model(load_tiny())


def test_clip_lets_values_pass_as_they_are(folders):
    """The library's own pass, its last attention replaced by its values alone."""
    network = transformers.CLIPModel.from_pretrained(folders["clip"]).eval()
    attention = network.vision_model.encoder.layers[-1].self_attn

    class Values(nn.Module):
        def forward(self, hidden_states, **_):
            return attention.out_proj(attention.v_proj(hidden_states)), None

    images = fakes.random_images(size=48)[:, :, :32]  # 4 x 6 patches of 8 pixels
    network.vision_model.encoder.layers[-1].self_attn = Values()
    with torch.no_grad():
        states = network.vision_model(images, interpolate_pos_encoding=True)
        tokens = network.vision_model.post_layernorm(states.last_hidden_state)
        expected = nnf.normalize(network.visual_projection(tokens[:, 1:]), dim=2)
        found = load_clip(str(folders["clip"])).encode_dense(images)
    assert found.shape == (2, 24, 4, 6)
    torch.testing.assert_close(found.flatten(2).movedim(1, 2), expected)


def test_siglip_pools_each_token_alone(folders):
    network = transformers.SiglipModel.from_pretrained(folders["siglip"]).eval()
    images = fakes.random_images(size=40)
    vision = network.vision_model
    with torch.no_grad():
        tokens = vision(images, interpolate_pos_encoding=True).last_hidden_state
        # the last of 5 x 5 tokens of the second image
        expected = nnf.normalize(vision.head(tokens[1:, -1:]))[0]
        found = load_clip(str(folders["siglip"])).encode_dense(images)
    torch.testing.assert_close(found[1, :, 4, 4], expected)


def test_images_are_resized_to_whole_patches(folders):
    model = load_clip(str(folders["clip"]))
    with torch.no_grad():
        # 37 / 8 is 4.6, 27 / 8 is 3.4; an image smaller than a patch is one
        assert model.encode_dense(torch.zeros(1, 3, 37, 27)).shape[2:] == (5, 3)
        assert model.encode_dense(torch.zeros(1, 3, 3, 30)).shape[2:] == (1, 4)


def test_a_conse_image_is_the_mean_of_its_places(conse):
    model, images = conse("weights"), fakes.random_images(size=96)
    with torch.no_grad():
        places = model.encode_dense(images)
        assert places.shape[-1] > 1
        mean = nnf.normalize(places.mean(dim=(2, 3)))
        torch.testing.assert_close(mean, model.encode_images(images))


@VARIANTS
def test_a_conse_place_is_an_image_of_it_alone(conse, variant):
    model, images = conse(variant), fakes.random_images(size=96)
    with torch.no_grad():
        features = model.network.forward_features(images)
        alone = features[1:, :, 1:2, 2:3]
        model.network.forward_features = lambda _: alone
        try:
            expected = model.encode_images(images[1:])[0]
        finally:
            del model.network.forward_features
        found = model.encode_dense(images)[1, :, 1, 2]
    torch.testing.assert_close(nnf.normalize(found, dim=0), expected)


def test_conse_without_a_feature_map_is_refused(folders):
    sentences = load_sentence_encoder(str(folders["sentences"]))
    net = timm.create_model("test_vit", num_classes=4)
    model = Conse(net, sentences, class_names=["a", "b", "c", "d"])
    with pytest.raises(ModelError, match=r"no feature map, .* convolutional"):
        model.encode_dense(torch.zeros(1, 3, 160, 160))


def test_the_stride_of_conse_is_an_option_of_its_backbone(folders, tmp_path):
    torch.manual_seed(0)
    options = {"num_classes": 4}
    weights = tmp_path / "weights.safetensors"
    from safetensors.torch import save_file

    net = timm.create_model("test_resnet", **options)
    save_file(net.state_dict(), weights)
    (tmp_path / "names.txt").write_text("cat\ndog\nsheep\ntrack\n")
    sentences = load_sentence_encoder(str(folders["sentences"]))
    sides = []
    for stride in (32, 16):
        model = load_conse(
            sentences,
            backbone="test_resnet",
            weights=str(weights),
            backbone_options=options | {"output_stride": stride},
            class_names=str(tmp_path / "names.txt"),
        )
        with torch.no_grad():
            sides.append(model.encode_dense(torch.zeros(1, 3, 64, 64)).shape[-1])
    assert sides == [2, 4]


def test_a_tiny_image_is_the_mean_of_its_places():
    model, images = load_tiny(), fakes.random_images(size=64)
    with torch.no_grad():
        places = model.encode_dense(images)
        assert places.shape == (2, 64, 8, 8)
        mean = nnf.normalize(places.mean(dim=(2, 3)))
        torch.testing.assert_close(mean, model.encode_images(images))


class Colours(nn.Module):
    """Places are the image's own normalised colours."""

    image_size, identity = 1, "colours"
    mean, std = (0.5, 0.5, 0.0), (0.5, 0.25, 1.0)

    def encode_images(self, images):
        return images.mean(dim=(2, 3))

    def encode_texts(self, texts):
        return torch.ones(len(texts), 3)

    def encode_dense(self, images):
        return images


def test_maps_are_products_of_texts_and_normalised_places():
    texts = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, -1.0]])
    maps = TextMaps(Colours(), texts)
    pixel = torch.tensor([0.75, 0.5, 0.25]).view(1, 3, 1, 1)
    # normalised: (0.75 - 0.5) / 0.5 = 0.5, 0, 0.25; texts: 0.5 and 2 x 0 - 0.25
    assert maps.logit_maps(pixel).flatten().tolist() == [0.5, -0.25]


def test_texts_are_means_of_contexts_less_those_of_words():
    contexts = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
    backgrounds = torch.tensor([[[1.0, 0.0], [0.0, -1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    has_words = torch.tensor([True, False])

    def found(suppress_words):
        knobs = {"suppress_words": suppress_words}
        return class_texts(contexts, backgrounds, has_words, **knobs)

    half = 0.5**0.5  # of unit length: (1, 1) / 2 has length sqrt(1 / 2)
    torch.testing.assert_close(found(False), torch.tensor([[half, half], [0.0, 1.0]]))
    # (1, -1) / 2 is taken off the first; the second has no words
    expected = torch.tensor([[half - 0.5, half + 0.5], [0.0, 1.0]])
    torch.testing.assert_close(found(True), expected)
