import numpy as np

from tag2mask.stages.learnable import count_together, warn_of_tags

CLASSES = ("cat", "dog", "emu")


def warnings(*groups):
    """Warn of images given as (count, tags)."""
    tags = [names for count, names in groups for _ in range(count)]
    together = count_together(tags, CLASSES)
    return list(warn_of_tags(together, CLASSES, num_images=len(tags)))


def test_images_with_two_classes_are_counted():
    found = count_together([("cat", "dog"), ("dog",), (), ("emu", "zebra")], CLASSES)
    assert found.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]
    assert count_together([], CLASSES).tolist() == np.zeros((3, 3)).tolist()


def test_enough_images_apart_are_no_warning():
    assert warnings((50, ("cat",)), (50, ("dog",)), (50, ("emu",))) == []


def test_rare_class():
    assert warnings((50, ("cat",)), (49, ("dog",)), (50, ("emu",))) == [
        "too rare to be learnt, with fewer than 50 training images: dog (49)"
    ]


def test_a_class_of_a_few_images_may_be_another_one_misspelt():
    names = ("tabby", "taby", "emu")
    tags = [("tabby",)] * 60 + [("taby",)] * 3 + [("emu",)] * 40
    found = list(warn_of_tags(count_together(tags, names), names, num_images=103))
    assert found == [
        "too rare to be learnt, with fewer than 50 training images: "
        "taby (3; did you mean 'tabby'?), emu (40)"
    ]


def test_classes_that_are_nearly_always_together():
    # 91 of 100 images of either show both, more than 0.9; 90 of 100 are not more
    apart = ((50, ("emu",)), (5, ("dog",)))
    assert warnings((91, ("cat", "dog")), (4, ("cat",)), *apart) == [
        "nearly always together, so that tags cannot tell which is which: cat and dog "
        "(91 of 100 images)"
    ]
    assert warnings((90, ("cat", "dog")), (5, ("cat",)), *apart) == []


def test_class_that_is_everywhere():
    # 191 of 201 are 0.9502, 190 of 200 exactly 0.95
    rest = ((50, ("cat", "dog")), (60, ("cat", "emu")))
    (told,) = warnings((81, ("cat",)), (10, ("dog",)), *rest)
    assert told == (
        "cat is on 191 of 201 training images: hardly one shows what it is not"
    )
    assert warnings((80, ("cat",)), (10, ("dog",)), *rest) == []
