import torch

from tag2mask.artifacts.tables import Index
from tag2mask.data.classes import ClassPrompts, read_vocabulary
from tag2mask.engine.runtime import Runtime
from tag2mask.stages.suggest import propose_from_images, suggest

KNOWN = ClassPrompts("boat", ("boat",), ("water",))
UNKNOWN = ClassPrompts("zeppelin", ("zeppelin",))


class Reddish:
    """Sees how red a picture is, and takes the word ``sand`` for red."""

    image_size, mean, std, identity = 16, (0.0,) * 3, (1.0,) * 3, "reddish"

    def encode_images(self, images):
        red = images[:, 0].mean((1, 2))
        return torch.stack([red, 1 - red], 1)

    def encode_texts(self, texts):
        return torch.tensor(
            [[1.0, 0.0] if "sand." in text else [0.0, 0.1] for text in texts]
        )


def test_classes_with_words_keep_them():
    found = suggest([KNOWN, UNKNOWN], lambda: (("rails",), ("clouds", "sky")))
    assert found == (KNOWN, ClassPrompts("zeppelin", ("zeppelin",), ("clouds", "sky")))


def test_nothing_is_proposed_where_all_is_known():
    assert suggest([KNOWN], lambda: 1 / 0) == (KNOWN,)


def test_words_come_from_the_images_of_a_class(finished, load):
    index = Index(finished.folder("index"), load().data.root)
    classes = [ClassPrompts(name, (name,)) for name in index.class_names[1:]]
    found = propose_from_images(
        index, Reddish(), classes, num_words=3, runtime=Runtime(workers=1)
    )
    with_images = {tag for image in index.split("train") for tag in image.tags}
    for tag, words in enumerate(found, 1):
        assert len(words) == (3 if tag in with_images else 0)
        assert set(words) <= set(read_vocabulary())
    # the class whose images are reddest has sand first, the palest has it last
    assert any(words[:1] == ("sand",) for words in found)
    assert not all(words[:1] == ("sand",) for words in found if words)
