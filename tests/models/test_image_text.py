import pytest
import torch
from safetensors.torch import load_file, save_file

from tag2mask.errors import ArtifactError
from tag2mask.models.image_text import (
    ImageTextModel,
    TextCache,
    make_image_text_model,
)
from tag2mask.models.image_text.protocol import TextEncoder


class Counter:
    """A text encoder that notes what it is asked for."""

    def __init__(self, identity="counter 1"):
        self.identity = identity
        self.asked = []

    def encode_texts(self, texts):
        self.asked += texts
        angles = torch.tensor([float(len(text)) for text in texts])
        return torch.stack([angles.cos(), angles.sin()], dim=1)


TEXTS = ["cat", "railway", "a", "cat"]


def test_second_call_does_not_ask_the_encoder(tmp_path):
    first, second = Counter(), Counter()
    found = TextCache(first, tmp_path / "texts").encode_texts(TEXTS)
    again = TextCache(second, tmp_path / "texts").encode_texts(TEXTS)
    assert torch.equal(found, Counter().encode_texts(TEXTS))
    assert torch.equal(again, found)
    assert (first.asked, second.asked) == (["cat", "railway", "a"], [])


def test_only_new_texts_are_asked_for_and_their_order_is_free(tmp_path):
    TextCache(Counter(), tmp_path).encode_texts(TEXTS)
    encoder = Counter()
    texts = ["a", "sheep", "cat"]
    found = TextCache(encoder, tmp_path).encode_texts(texts)
    assert torch.equal(found, Counter().encode_texts(texts))
    assert encoder.asked == ["sheep"]
    assert len(list(tmp_path.iterdir())) == 1


def test_another_identity_is_another_file(tmp_path):
    caches = [TextCache(Counter(name), tmp_path) for name in ("counter 1", "counter 2")]
    for cache in caches:
        cache.encode_texts(TEXTS)
        assert cache._encoder.asked == ["cat", "railway", "a"]
        assert cache.identity == cache._encoder.identity
    assert {cache.path for cache in caches} == set(tmp_path.iterdir())


def overwrite_vector(path, vector):
    known = load_file(path)
    save_file({key: torch.tensor(vector) for key in known}, path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("{}"),
        lambda path: overwrite_vector(path, [3.0, 4.0]),
        lambda path: overwrite_vector(path, [float("nan"), 1.0]),
        lambda path: overwrite_vector(path, [[1.0, 0.0]]),
    ],
)
def test_damaged_file_is_written_again(tmp_path, damage):
    cache = TextCache(Counter(), tmp_path)
    whole = cache.encode_texts(TEXTS)
    damage(cache.path)
    encoder = Counter()
    assert torch.equal(TextCache(encoder, tmp_path).encode_texts(TEXTS), whole)
    assert encoder.asked == ["cat", "railway", "a"]
    assert torch.equal(TextCache(Counter(), tmp_path).encode_texts(TEXTS), whole)


def test_no_text_is_a_mistake(tmp_path):
    with pytest.raises(ValueError, match="expected at least one text to encode, got n"):
        TextCache(Counter(), tmp_path).encode_texts([])


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ArtifactError, match=r"cannot write .*/file/texts-\w{12}.safete"
    ):
        TextCache(Counter(), tmp_path / "file").encode_texts(TEXTS)


def test_cache_is_an_encoder_and_no_image_text_model(tmp_path):
    cache = TextCache(Counter(), tmp_path)
    assert isinstance(cache, TextEncoder)
    assert not isinstance(cache, ImageTextModel)


def test_kinds_are_made_by_their_loaders(monkeypatch):
    seen = []
    for kind in ("clip", "open_clip"):
        monkeypatch.setattr(
            f"tag2mask.models.image_text.load_{kind}",
            lambda kind=kind, **settings: seen.append((kind, settings)),
        )
        with pytest.raises(Exception, match="return"):
            make_image_text_model(kind, precision="bf16", model="x")
    settings = {"precision": "bf16", "model": "x"}
    assert seen == [("clip", settings), ("open_clip", settings)]
