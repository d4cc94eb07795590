import pytest

from tag2mask.models.image_text import make_image_text_model


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
