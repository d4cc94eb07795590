import re

import pytest

from tag2mask.data.classes import describe_classes, read_vocabulary, without_classes
from tag2mask.data.classes.known import find_known
from tag2mask.data.published import COCO_CLASSES, VOC_CLASSES

COCO = tuple(COCO_CLASSES.values())
TELEVISION = ("television set", "tv", "monitor")
PRESETS = ("plain", "clims", "clip_es")


def called(class_names):
    """All that the classes of a data set are called in any preset."""
    return {
        name
        for preset in PRESETS
        for each in describe_classes(class_names, preset=preset)
        for name in (each.tag, *each.names)
    }


def any_of(names):
    """Match where a name, or its plural, is in a word or phrase."""
    return re.compile(rf"\b({'|'.join(map(re.escape, names))})(s|es)?\b")


@pytest.mark.parametrize("class_names", [VOC_CLASSES, COCO], ids=["voc", "coco"])
def test_each_class_has_seven_words_that_name_no_class(class_names):
    any_class = any_of(called(class_names))
    for each in describe_classes(class_names, preset="plain"):
        assert len(set(each.background)) == 7, each
        for word in each.background:
            assert re.fullmatch(r"[a-z]+([ -][a-z]+){0,2}", word), each
            assert not any_class.search(word), each


@pytest.mark.parametrize("class_names", [VOC_CLASSES, COCO], ids=["voc", "coco"])
def test_no_name_is_of_two_classes(class_names):
    owner = {}
    for preset in PRESETS:
        for each in describe_classes(class_names, preset=preset):
            assert len(set(each.names)) == len(each.names)
            for name in each.names:
                assert owner.setdefault(name, each.tag) == each.tag


def test_both_data_sets_together_are_the_80_classes():
    assert len({find_known(tag) for tag in (*VOC_CLASSES, *COCO)}) == 80


def test_vocabulary_has_some_300_words_and_no_class():
    words = read_vocabulary()
    assert 280 <= len(words) <= 340
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[a-z]+([ -][a-z]+){0,2}", word) for word in words)
    any_class = any_of(called((*VOC_CLASSES, *COCO)))
    assert not [word for word in words if any_class.search(word)]


@pytest.mark.parametrize("preset", PRESETS)
def test_vocabulary_is_whole_beside_every_known_class(preset):
    classes = describe_classes(COCO, preset=preset)
    assert without_classes(read_vocabulary(), classes) == read_vocabulary()


@pytest.mark.parametrize(
    ("tag", "plain", "clims", "clip_es"),
    [
        ("aeroplane", "aeroplane", "airplane", ("airplane", "plane", "aircraft")),
        ("airplane", "airplane", "airplane", ("airplane", "plane", "aircraft")),
        ("diningtable", "dining table", "dining table", ("dining table", "table")),
        ("tvmonitor", "tv monitor", "television set", TELEVISION),
        ("tv", "tv", "television set", TELEVISION),
        ("sofa", "sofa", "sofa", ("sofa", "couch")),
        ("couch", "couch", "sofa", ("sofa", "couch")),
        ("mouse", "mouse", "computer mouse", ("computer mouse", "mouse")),
    ],
)
def test_presets_by_example(tag, plain, clims, clip_es):
    found = {
        preset: describe_classes([tag], preset=preset)[0].names for preset in PRESETS
    }
    assert found["plain"] == (plain,)
    assert found["clims"] == (clims,)
    assert found["clip_es"] == clip_es


@pytest.mark.parametrize("tag", ["potted plant", "Potted_Plants", "potted-plant"])
def test_known_class_is_found_however_it_is_written(tag):
    (found,) = describe_classes([tag], preset="plain")
    (voc,) = describe_classes(["pottedplant"], preset="plain")
    assert (found.tag, found.names) == (tag, ("potted plant",))
    assert found.background == voc.background


def test_shared_classes_of_both_data_sets_have_the_same_words():
    voc = describe_classes(VOC_CLASSES, preset="clims")
    coco = describe_classes(COCO, preset="clims")
    of_coco = {each.names: each.background for each in coco}
    assert {each.names: each.background for each in voc}.items() <= of_coco.items()
