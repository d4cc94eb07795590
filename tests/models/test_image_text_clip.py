import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import image_text_fakes as fakes
from image_text_fakes import transformers
from tag2mask.errors import ModelError
from tag2mask.models.image_text.clip import CLIP_MEAN, CLIP_STD, load_clip
from tag2mask.testing import check_image_text_model

IMAGES = fakes.random_images()
LONG = "a cat of a cat " * 30


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return fakes.write_clip(tmp_path_factory.mktemp("clip") / "small")


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    return fakes.write_siglip(tmp_path_factory.mktemp("siglip") / "small")


@pytest.fixture
def copied(clip_folder, tmp_path):
    """A folder of a CLIP to break."""
    shutil.copytree(clip_folder, tmp_path / "copied")
    return tmp_path / "copied"


def said_by_library(folder, texts, images, *, length=16):
    """The vectors of the library's own forward pass, a text at a time."""
    config = transformers.AutoConfig.from_pretrained(folder)
    is_siglip = config.model_type == "siglip"
    name = "SiglipModel" if is_siglip else "CLIPModel"
    network = getattr(transformers, name).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    padding = {"padding": "max_length"} if is_siglip else {}
    found = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=length, **padding).input_ids
        with torch.no_grad():
            output = network(
                input_ids=torch.tensor([ids]),
                pixel_values=images,
                interpolate_pos_encoding=images.shape[-1] != fakes.IMAGE_SIZE,
            )
        found.append(output.text_embeds)
    return output.image_embeds, torch.cat(found)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_vectors_are_those_of_the_library(kind, request):
    folder = request.getfixturevalue(f"{kind}_folder")
    model = load_clip(str(folder))
    texts = [*fakes.TEXTS, LONG]
    images, found = said_by_library(folder, texts, IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(model.encode_images(IMAGES), images)
    torch.testing.assert_close(model.encode_texts(texts), found)
    assert model.identity.startswith(f"{kind} small ")


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_contract_is_kept(kind, request):
    check_image_text_model(load_clip(str(request.getfixturevalue(f"{kind}_folder"))))


def test_defaults_are_those_of_the_two_kinds(clip_folder, siglip_folder):
    clip, siglip = load_clip(str(clip_folder)), load_clip(str(siglip_folder))
    assert (clip.image_size, clip.mean, clip.std) == (32, CLIP_MEAN, CLIP_STD)
    assert (siglip.image_size, siglip.mean, siglip.std) == (32, (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    "sizes",
    [
        {"crop_size": {"height": 40, "width": 40}, "size": {"shortest_edge": 48}},
        {"crop_size": 40, "size": 48},
        {"size": {"height": 40, "width": 40}},
        {"crop_size": None, "size": {"shortest_edge": 40}},
    ],
)
@pytest.mark.parametrize("file", ["preprocessor_config.json", "processor_config.json"])
def test_preprocessing_is_read(copied, sizes, file):
    given = sizes | {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    is_newer = file == "processor_config.json"
    fakes.write_json(copied / file, {"image_processor": given} if is_newer else given)
    model = load_clip(str(copied))
    assert model.image_size == 40
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_another_size_is_that_of_the_library(copied):
    fakes.write_json(copied / "preprocessor_config.json", {"crop_size": 48})
    larger = fakes.random_images(size=48)
    images, _ = said_by_library(copied, ["cat"], larger)
    with torch.no_grad():
        found = load_clip(str(copied)).encode_images(larger)
    torch.testing.assert_close(found, images)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"crop_size": {"height": 40, "width": 48}}, "crop_size = .*expected a square"),
        ({"image_mean": [0.5]}, r"a mean or std \[0.5\]; expected three numbers"),
    ],
)
def test_preprocessing_of_other_images_is_refused(copied, given, message):
    fakes.write_json(copied / "preprocessor_config.json", given)
    with pytest.raises(ModelError, match=f"the preprocessing of copied has {message}"):
        load_clip(str(copied))


def test_half_precision_reaches_the_images_and_no_text(clip_folder):
    full = load_clip(str(clip_folder))
    half = load_clip(str(clip_folder), precision="bf16")
    with torch.no_grad():
        one, other = full.encode_images(IMAGES), half.encode_images(IMAGES)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.05)
    texts = fakes.TEXTS
    assert torch.equal(full.encode_texts(texts), half.encode_texts(texts))
    check_image_text_model(half, tolerance=0.05)


def test_precision_set_around_it_does_not_matter(clip_folder):
    model = load_clip(str(clip_folder))
    with torch.no_grad():
        alone, text = model.encode_images(IMAGES), model.encode_texts(["cat"])
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.encode_images(IMAGES), alone)
            assert torch.equal(model.encode_texts(["cat"]), text)


def test_training_mode_is_never_entered(clip_folder):
    model = load_clip(str(clip_folder))
    assert not any(part.training for part in model.train().modules())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_many_texts_are_encoded_in_parts(clip_folder):
    model = load_clip(str(clip_folder))
    found = model.encode_texts(fakes.TEXTS * 50)
    again = model.encode_texts(fakes.TEXTS)
    torch.testing.assert_close(found, again.repeat(50, 1))
    with pytest.raises(ValueError, match="expected at least one text to encode"):
        model.encode_texts([])


def test_identity_follows_the_content(copied, tmp_path):
    before = load_clip(str(copied)).identity
    shutil.copytree(copied, tmp_path / "elsewhere" / "copied")
    assert load_clip(str(tmp_path / "elsewhere" / "copied")).identity == before
    state = load_file(copied / "model.safetensors")
    state["logit_scale"] += 1
    save_file(state, copied / "model.safetensors", {"format": "pt"})
    changed = load_clip(str(copied)).identity
    vocabulary = json.loads((copied / "vocab.json").read_text())
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    fakes.write_json(copied / "vocab.json", vocabulary)
    assert len({before, changed, load_clip(str(copied)).identity}) == 3


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = r'need transformers; install it with pip install "tag2mask\[clip\]"'
    with pytest.raises(ModelError, match=message):
        load_clip()


@pytest.mark.parametrize("name", ["/nowhere/clip", "./clip", "~/clip"])
def test_missing_folder_is_told(name):
    with pytest.raises(
        ModelError, match=r"there is no folder /.*clip; expected a mode"
    ):
        load_clip(name)


def test_hub_out_of_reach_is_told(monkeypatch):
    fakes.without_hub(monkeypatch)
    message = (
        "openai/clip-vit-base-patch32 is no folder here, and its configuration cannot "
        r"be had from the hub \(.+\); check the name and the connection, or name a"
    )
    with pytest.raises(ModelError, match=message):
        load_clip()


def test_another_kind_of_model_is_named(tmp_path):
    fakes.write_sentences(tmp_path / "bert")
    message = "bert is a model of type 'bert'; expected one of clip, siglip"
    with pytest.raises(ModelError, match=message):
        load_clip(str(tmp_path / "bert"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["config.json"], "the folder .*copied holds no configuration that can be rea"),
        (["model.safetensors"], "holds no weights in safetensors files, the only ones"),
        (["vocab.json"], "holds no tokenizer that can be read .*get its files again"),
        (["vocab.json", "merges.txt"], "copied holds no tokenizer; add its files"),
    ],
)
def test_missing_file_is_told(copied, files, message):
    for file in files:
        (copied / file).unlink()
    with pytest.raises(ModelError, match=message):
        load_clip(str(copied))


def test_pickled_weights_are_not_read(copied):
    state = load_file(copied / "model.safetensors")
    torch.save(state, copied / "pytorch_model.bin")
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors files, the only ones that canno"):
        load_clip(str(copied))


def test_damaged_weights_are_told(copied):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"copied holds no weights .* can be read"):
        load_clip(str(copied))


def test_missing_weights_are_named(copied):
    state = load_file(copied / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, copied / "model.safetensors", {"format": "pt"})
    message = r"copied lack 1 keys of a CLIPModel \(visual_projection.weight\); get its"
    with pytest.raises(ModelError, match=message):
        load_clip(str(copied))


def test_tokenizer_of_another_model_is_told(copied):
    vocabulary = json.loads((copied / "vocab.json").read_text())
    fakes.write_json(copied / "vocab.json", vocabulary | {"more": 5000})
    message = "has tokens up to 5000, but the model knows 194: they are of two models"
    with pytest.raises(ModelError, match=message):
        load_clip(str(copied))


def test_loading_says_nothing(clip_folder, capfd):
    load_clip(str(clip_folder))
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled()


@pytest.mark.slow
def test_full_size_is_that_of_the_library(tmp_path):
    torch.manual_seed(0)
    num_tokens = fakes.write_clip_tokenizer(tmp_path)
    ends = {"bos_token_id": num_tokens - 2, "eos_token_id": num_tokens - 1}
    network = transformers.CLIPModel(transformers.CLIPConfig(text_config=ends))
    network.save_pretrained(tmp_path)
    model = load_clip(str(tmp_path))
    assert model.image_size == 224
    images = fakes.random_images(size=224)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = torch.tensor([tokenizer("a cat").input_ids])
    with torch.no_grad():
        output = network.eval()(input_ids=ids, pixel_values=images)
        found = model.encode_images(images)
    torch.testing.assert_close(found, output.image_embeds, atol=1e-4, rtol=0)
    found = model.encode_texts(["a cat"])
    torch.testing.assert_close(found, output.text_embeds, atol=1e-4, rtol=0)
