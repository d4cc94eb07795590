import pytest
import torch
import torch.nn.functional as nnf
from torch import nn

from tag2mask.errors import ModelError
from tag2mask.testing import check_dense_image_text_model, check_image_text_model

SIZE = 8


class Good(nn.Module):
    """Keeps every promise."""

    def __init__(self):
        super().__init__()
        self.image_size = SIZE
        self.mean = (0.4, 0.5, 0.6)
        self.std = (0.2, 0.2, 0.2)
        self.identity = "good"
        torch.manual_seed(0)
        self.layer = nn.Linear(3 * SIZE * SIZE, 5)
        self.noise = nn.Dropout()
        self.requires_grad_(False)
        self.train()

    def train(self, mode=True):  # noqa: ARG002
        return super().train(False)

    def encode_images(self, images):
        return nnf.normalize(self.noise(self.layer(images.flatten(1))))

    def encode_texts(self, texts):
        counts = [
            [text[:40].count(letter) + 0.1 for letter in "aioun"] for text in texts
        ]
        return nnf.normalize(torch.tensor(counts))


class Plain:
    """Keeps them too, and is no module."""

    image_size, mean, std, identity = SIZE, (0.5,) * 3, (0.5,) * 3, "plain"

    def encode_images(self, images):
        return nnf.normalize(images.mean((2, 3)))

    def encode_texts(self, texts):
        return nnf.normalize(Good().encode_texts(texts)[:, :3])


def test_who_keeps_all_promises_passes():
    check_image_text_model(Good())
    check_image_text_model(Plain())


def images(change):
    """Change what it returns for images."""

    class Changed(Good):
        def encode_images(self, images):
            return change(self, images, super().encode_images(images))

    return Changed()


def texts(change):
    """Change what it returns for texts."""

    class Changed(Good):
        def encode_texts(self, texts):
            return change(self, texts, super().encode_texts(texts))

    return Changed()


def changed(**attributes):
    model = Good()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def trainable():
    return Good().requires_grad_()


def in_training():
    class Training(Good):
        def train(self, mode=True):
            return nn.Module.train(self, mode)

    return Training()


def entering_training():
    return in_training().eval()


class Silent(torch.autograd.Function):
    """The identity, with a gradient of zero or worse."""

    @staticmethod
    def forward(ctx, value, factor):
        ctx.factor = factor
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def once(model, _, vectors):
    """Vectors that depend on the number of the call."""
    model.calls = getattr(model, "calls", 0) + 1
    return vectors.roll(model.calls, dims=1)


BROKEN = {
    "has image_size 0; expected pixels, 1 or more": lambda: changed(image_size=0),
    "has image_size 8.0; expected pix": lambda: changed(image_size=8.0),
    "has mean (0.5, 0.5); expected a tuple of th": lambda: changed(mean=(0.5, 0.5)),
    "has std [0.5, 0.5, 0.5]; expected a tup": lambda: changed(std=[0.5] * 3),
    "has std (0.0, 1.0, 1.0); expected numbers ab": lambda: changed(
        std=(0.0, 1.0, 1.0)
    ),
    "has identity ''; expected a text": lambda: changed(identity=""),
    "is in training mode (itself); expected evaluation mode": in_training,
    "after train() is in training mode (itself)": entering_training,
    "gives 3 images a tensor of shape [3, 5, 1]; expected [3, d]": lambda: images(
        lambda _, __, vectors: vectors[..., None]
    ),
    "gives 3 images a tensor of shape [2, 5]; expected [3, d]": lambda: images(
        lambda _, __, vectors: vectors[:2]
    ),
    "gives images vectors of torch.float64; expected torch.float32": lambda: images(
        lambda _, __, vectors: vectors.double()
    ),
    "gives images vectors of length 2; expected 1": lambda: images(
        lambda _, __, vectors: vectors * 2
    ),
    "gives images vectors of length nan; expected 1": lambda: images(
        lambda _, __, vectors: vectors * float("nan")
    ),
    "gives images other vectors alone than beside others": lambda: images(
        lambda _, __, vectors: nnf.normalize(vectors - 0.1 * vectors.mean(0))
    ),
    "gives two images the same vector": lambda: images(
        lambda _, __, vectors: torch.ones_like(vectors) * 0.2**0.5
    ),
    "gives no gradient to images; encode them without no_grad": lambda: images(
        lambda _, __, vectors: vectors.detach()
    ),
    "gives no gradient to images:": lambda: images(
        lambda _, __, vectors: Silent.apply(vectors, 0.0)
    ),
    "gives images a gradient that is no number": lambda: images(
        lambda _, __, vectors: Silent.apply(vectors, float("nan"))
    ),
    "gives a gradient to its weights (layer.weight); freeze them": trainable,
    "gives 3 texts a tensor of shape [5, 3]; expected [3, d]": lambda: texts(
        lambda _, __, vectors: vectors.T
    ),
    "gives texts vectors of torch.float16; expected": lambda: texts(
        lambda _, __, vectors: vectors.half()
    ),
    "gives texts vectors of length 0.5; expected 1": lambda: texts(
        lambda _, __, vectors: vectors / 2
    ),
    "gives texts vectors of 6 entries, but images 5": lambda: texts(
        lambda _, __, vectors: nnf.pad(vectors, (0, 1))
    ),
    "gives texts a gradient; encode them under": lambda: texts(
        lambda _, __, vectors: vectors.requires_grad_()
    ),
    "gives one text two vectors": lambda: texts(
        lambda _, __, vectors: torch.cat([vectors[:1].roll(1, dims=1), vectors[1:]])
    ),
    "gives two texts the same vector": lambda: texts(
        lambda _, __, vectors: torch.ones_like(vectors) * 0.2**0.5
    ),
    "gives texts other vectors alone than beside others": lambda: texts(once),
    "gives texts longer than it reads vectors of length": lambda: texts(
        lambda _, texts, vectors: vectors * (1 + (len(texts[0]) > 99))
    ),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_promise_is_named(message):
    with pytest.raises(ModelError) as caught:
        check_image_text_model(BROKEN[message]())
    assert f" {message}" in str(caught.value)
    assert str(caught.value).endswith(": it is no ImageTextModel of tag2mask")


def test_what_is_no_model_is_told_what_it_lacks():
    with pytest.raises(
        ModelError, match=r"^str lacks image_size, mean, .*encode_texts:"
    ):
        check_image_text_model("a model")


def test_tolerance_is_how_far_vectors_may_be_off():
    model = images(lambda _, __, vectors: vectors * 1.01)
    check_image_text_model(model, tolerance=0.02)
    with pytest.raises(ModelError, match=r"vectors of length 1\.01; expected 1"):
        check_image_text_model(model, tolerance=0.005)


def test_failed_check_leaves_the_model_in_evaluation_and_without_gradients():
    model = trainable()
    with pytest.raises(ModelError):
        check_image_text_model(model)
    assert not model.training
    assert all(weight.grad is None for weight in model.parameters())
    model = entering_training()
    with pytest.raises(ModelError):
        check_image_text_model(model)
    assert not model.training


class Dense(Good):
    """Keeps the promises of places as well."""

    def encode_dense(self, images):
        places = nnf.avg_pool2d(images, 4)
        return torch.cat([places, places[:, :2]], dim=1)


def test_who_keeps_the_promises_of_places_passes():
    check_dense_image_text_model(Dense())


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda places: places[:, :3], r"shape \[3, 3, .* expected \[3, 5, gh, gw\]"),
        (lambda places: places.mean(dim=(2, 3)), "expected .3, 5, gh, gw."),
        (lambda places: places.double(), "places of torch.float64"),
        (lambda places: places - places.mean(dim=0), "other vectors alone"),
    ],
)
def test_broken_promises_of_places_are_named(change, broken):
    class Broken(Dense):
        def encode_dense(self, images):
            return change(super().encode_dense(images))

    with pytest.raises(ModelError, match=broken):
        check_dense_image_text_model(Broken())


def test_who_has_no_places_is_told():
    with pytest.raises(ModelError, match="lacks encode_dense"):
        check_dense_image_text_model(Good())
