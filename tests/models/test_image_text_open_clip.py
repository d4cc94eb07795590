import logging
import sys

import pytest
import torch
from safetensors.torch import save_file

import image_text_fakes as fakes
from image_text_fakes import open_clip
from tag2mask.errors import ModelError
from tag2mask.models.image_text.open_clip import load_open_clip
from tag2mask.testing import check_image_text_model

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISION = {
    "small-ViT": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16}
    | {"patch_size": 8},
    "small-RN": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    | {"patch_size": None},
    "oblong-ViT": {"image_size": [32, 64], "layers": 1, "width": 32}
    | {"head_width": 16, "patch_size": 8},
}
LONG = "a cat of a cat " * 30


@pytest.fixture(scope="module", autouse=True)
def _small_architectures(tmp_path_factory):
    """The library's own list, with small towers of its two kinds."""
    folder = tmp_path_factory.mktemp("architectures")
    for name, vision in VISION.items():
        config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}
        fakes.write_json(folder / f"{name}.json", config)
    paths = list(open_clip.factory._MODEL_CONFIG_PATHS)
    known = dict(open_clip.factory._MODEL_CONFIGS)
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths
    open_clip.factory._MODEL_CONFIGS = known


def random_network(name, **options):
    torch.manual_seed(0)
    config = open_clip.get_model_config(name)
    network = open_clip.CLIP(**config, **options)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1 and parameter.shape[0] < 49408:
                parameter.mul_(2)
    return network.eval()


@pytest.fixture(scope="module")
def vit_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(random_network("small-ViT").state_dict(), path)
    return path


def assert_same_vectors(model, network, name, *, texts, tolerance):
    images = fakes.random_images(size=model.image_size)
    tokens = open_clip.get_tokenizer(name)(texts)
    with torch.no_grad():
        theirs = network.encode_image(images, normalize=True)
        mine = model.encode_images(images)
        torch.testing.assert_close(mine, theirs, atol=tolerance, rtol=0)
        theirs = network.encode_text(tokens, normalize=True)
    torch.testing.assert_close(
        model.encode_texts(texts), theirs, atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("name", ["small-ViT", "small-RN"])
@pytest.mark.parametrize("suffix", ["safetensors", "pth", "wrapped"])
def test_vectors_are_those_of_the_library(name, suffix, tmp_path):
    network = random_network(name)
    path = tmp_path / f"w.{suffix}"
    state = network.state_dict()
    if suffix == "safetensors":
        save_file(state, path)
    elif suffix == "pth":
        torch.save(state, path)
    else:  # as a trainer on several devices saves it
        ours = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 3, "state_dict": ours}, path)
    model = load_open_clip(name, str(path))
    assert model.image_size == VISION[name]["image_size"]
    assert model.identity.startswith(f"open_clip {name} w.{suffix} ")
    texts = [*fakes.TEXTS, LONG]
    assert_same_vectors(model, network, name, texts=texts, tolerance=1e-5)


@pytest.mark.parametrize("name", ["small-ViT", "small-RN"])
def test_contract_is_kept(name, tmp_path):
    save_file(random_network(name).state_dict(), tmp_path / "w.safetensors")
    check_image_text_model(load_open_clip(name, str(tmp_path / "w.safetensors")))


@pytest.fixture
def listed(monkeypatch, vit_file):
    """Two checkpoints that open_clip lists, and a hub that has them."""
    tags = {
        "first": {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "quick_gelu": True},
        "second": {"mean": (0.5,) * 3, "std": (0.7,) * 3},
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small-ViT", tags)
    asked = []

    def download(settings, **_):
        asked.append(settings["mean"])
        return str(vit_file)

    monkeypatch.setattr(open_clip.factory, "download_pretrained", download)
    return asked


def test_listed_weights_bring_their_mean_and_activation(listed):
    first, second = (load_open_clip("small-ViT", tag) for tag in ("first", "second"))
    assert listed == [first.mean, second.mean] == [(0.1, 0.2, 0.3), (0.5,) * 3]
    assert (first.std, second.std) == ((0.4, 0.5, 0.6), (0.7,) * 3)
    assert second.identity.startswith("open_clip small-ViT second ")
    for model, is_quick in ((first, True), (second, False)):
        network = random_network("small-ViT", quick_gelu=is_quick)
        assert_same_vectors(
            model, network, "small-ViT", texts=fakes.TEXTS, tolerance=1e-5
        )


def test_file_takes_the_first_listed_mean_unless_told(listed, vit_file):
    model = load_open_clip("small-ViT", str(vit_file))
    assert (model.mean, model.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    model = load_open_clip("small-ViT", str(vit_file), mean=(0.6,) * 3, std=(0.2,) * 3)
    assert (model.mean, model.std) == ((0.6,) * 3, (0.2,) * 3)
    assert listed == []


def test_file_of_an_unlisted_architecture_takes_the_mean_of_clip(vit_file):
    model = load_open_clip("small-ViT", str(vit_file))
    assert model.mean == open_clip.OPENAI_DATASET_MEAN
    assert model.std == open_clip.OPENAI_DATASET_STD


def test_half_precision_reaches_the_images(vit_file):
    full = load_open_clip("small-ViT", str(vit_file))
    half = load_open_clip("small-ViT", str(vit_file), precision="bf16")
    images = fakes.random_images()
    with torch.no_grad():
        one, other = full.encode_images(images), half.encode_images(images)
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.allclose(one, other, atol=0.05)


def test_identity_follows_weights_and_mean(vit_file, tmp_path):
    state = random_network("small-ViT").state_dict()
    state["logit_scale"] += 1
    changed = tmp_path / vit_file.name
    save_file(state, changed)
    load = [(vit_file, None), (vit_file, None), (vit_file, (0.5,) * 3), (changed, None)]
    found = [load_open_clip("small-ViT", str(p), mean=m).identity for p, m in load]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    message = r'needs open_clip_torch; install it with pip install "tag2mask\[open-cli'
    with pytest.raises(ModelError, match=message):
        load_open_clip()


def test_unknown_architecture_names_near_ones():
    with pytest.raises(ModelError, match=r"no architecture 'ViT-B/32'; near: .*B-32"):
        load_open_clip("ViT-B/32")


def test_unknown_weights_name_those_listed():
    message = r"lists no weights 'laion' of RN50, and .* no file /.*laion; it lists: op"
    with pytest.raises(ModelError, match=message):
        load_open_clip("RN50", "laion")


def test_images_must_be_square(tmp_path):
    save_file(random_network("oblong-ViT").state_dict(), tmp_path / "w.safetensors")
    message = r"oblong-ViT w.* takes images of .*32, 64.* pixels; expected a square"
    with pytest.raises(ModelError, match=message):
        load_open_clip("oblong-ViT", str(tmp_path / "w.safetensors"))


def test_weights_of_another_network_are_told(vit_file):
    message = rf"{vit_file} cannot be loaded into open_clip's small-RN, .*Missing key"
    with pytest.raises(ModelError, match=message):
        load_open_clip("small-RN", str(vit_file))


def test_damaged_file_is_told(vit_file, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(vit_file.read_bytes()[:500])
    with pytest.raises(ModelError, match=r"w\.safetensors cannot be read as weights"):
        load_open_clip("small-ViT", str(tmp_path / "w.safetensors"))


def test_code_is_refused(tmp_path):
    torch.save({"a": logging.getLogger}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth holds more than tensors and is not"):
        load_open_clip("small-ViT", str(tmp_path / "w.pth"))


def test_hub_out_of_reach_is_told_once(monkeypatch, listed, caplog):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    message = "weights second of small-ViT .* from the hub .*no route to host.*; check"
    with pytest.raises(ModelError, match=message):
        load_open_clip("small-ViT", "second")
    assert caplog.records == []
    assert logging.root.manager.disable == logging.NOTSET
    assert listed == []


def test_tokenizer_that_needs_another_library_says_what_to_install(
    monkeypatch, vit_file
):
    def without(*_):
        raise ModuleNotFoundError("none", name="transformers")

    monkeypatch.setattr(open_clip, "get_tokenizer", without)
    message = r'needs transformers too; .* pip install "tag2mask\[clip,open-clip\]"'
    with pytest.raises(ModelError, match=message):
        load_open_clip("small-ViT", str(vit_file))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32", "RN50"])
def test_full_size_is_that_of_the_library(name, tmp_path):
    network = random_network(name)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = load_open_clip(name, str(tmp_path / "w.safetensors"))
    assert model.image_size == 224
    assert_same_vectors(model, network, name, texts=fakes.TEXTS, tolerance=1e-4)
