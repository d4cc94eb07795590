import pytest

from tag2mask.stages.report_classes import (
    Column,
    Confusion,
    Sample,
    class_columns,
    class_samples,
    class_views,
    confusions,
)
from tag2mask.stages.report_tables import Content

NAMES = ["background", "cat", "dog"]


def score(stage, subject, per_class, split="train", **more):
    return {
        "stage": stage,
        "subject": subject,
        "miou": 50.0,
        "per_class": dict(zip(NAMES, per_class, strict=True)),
        "protocol": {"split": split, **more.pop("protocol", {})},
    } | more


def of(scores, **proxies):
    return Content("t", {}, scores, proxies, [], [], [], {})


def test_confusions_are_shares_of_the_true_class_and_of_what_is_wrong():
    record = {"confusion": [[90, 10, 0, 0], [30, 50, 15, 5], [0, 0, 0, 0]]}
    # 60 pixels are wrong; 30 of 100 pixels of the cat are called background
    assert confusions(record, NAMES) == [
        Confusion("cat", "background", 30.0, 50.0),
        Confusion("cat", "dog", 15.0, 25.0),
        Confusion("background", "cat", 10.0, pytest.approx(100 / 6)),
        Confusion("cat", "unlabelled", 5.0, pytest.approx(100 / 12)),
    ]
    assert confusions(None, NAMES) == []


def test_the_most_frequent_confusion_comes_first_and_rare_ones_are_left_out():
    # 100 of 100000 are 0.1 %, but 99 are less; 10 of 20 are many of few
    record = {"confusion": [[99_801, 100, 99, 0], [10, 10, 0, 0], [0, 0, 0, 0]]}
    pairs = [(each.truth, each.found) for each in confusions(record, NAMES)]
    assert pairs == [("background", "cat"), ("cat", "background")]


def test_nothing_wrong_is_no_confusion():
    assert confusions({"confusion": [[3, 0, 0], [0, 2, 0]]}, NAMES[:2]) == []


def test_columns_are_stages_and_several_voters_their_mean():
    oracle = {"threshold_chosen": "oracle"}
    scores = [
        score("cam", "a", [1.0, 1.0, 1.0], protocol={"threshold_chosen": "fixed"}),
        score("cam", "a", [9.0, 9.0, 9.0], protocol=oracle),
        score("seed", "a", [10.0, 20.0, None]),
        score("seed", "b", [30.0, None, None]),
        score("vote_refine", "vote", [1.0, 2.0, 3.0]),
        score("predict", "plain", [4.0, 5.0, 6.0], split="val"),
        score("predict", "crf", [7.0, 8.0, 9.0], split="val"),
    ]
    columns = class_columns(of(scores), NAMES)
    assert [column.title for column in columns] == [
        "cam (train)",
        "seed, mean of 2 (train)",
        "vote refine (train)",
        "segmenter plain (val)",
        "segmenter crf (val)",
    ]
    assert list(columns[1].values.values()) == [20.0, 20.0, None]


def test_columns_without_masks_are_of_the_tags():
    by_class = {"1": {"tag_recall": 60.0, "tag_precision": None}}
    columns = class_columns(of([], predict={"by_class": by_class}), NAMES)
    assert columns == [
        Column("tag recall (predict)", {"background": None, "cat": 60.0, "dog": None}),
        Column("tag precision (predict)", dict.fromkeys(NAMES)),
    ]
    assert class_columns(of([]), NAMES) == []


def samples(class_id, key, worst, best):
    return {
        "class_id": class_id,
        "worst": [{"image": worst, key: 12.34}],
        "best": [{"image": best, key: 56.78}],
    }


def test_samples_are_the_segmenters_then_the_votes_then_the_proxies():
    voted = score("vote", "vote", [1.0] * 3, samples=[samples(1, "iou", "a", "b")])
    found = score("predict", "plain", [1.0] * 3, samples=[samples(2, "iou", "c", "d")])
    proxies = {"vote": {"samples": [samples(1, "unanimous", "e", "f")]}}
    both, one, none = (of(each, **proxies) for each in ([voted, found], [voted], []))
    assert class_samples(both) == {
        2: ((Sample("c", "IoU 12.3 %"),), (Sample("d", "IoU 56.8 %"),))
    }
    assert list(class_samples(one)) == [1]
    assert class_samples(none)[1][0] == (Sample("e", "unanimous 12.3 %"),)


def test_a_class_has_its_values_confusions_and_samples():
    matrix = [[90, 10, 0, 0], [30, 50, 15, 5], [0, 0, 0, 0]]
    scored = score(
        "predict",
        "plain",
        [90.0, 40.0, None],
        confusion=matrix,
        samples=[samples(1, "iou", "a", "b")],
    )
    content = of([scored])
    _, cat, dog = class_views(content, NAMES, class_columns(content, NAMES))
    assert cat.values == (40.0,)
    assert [each.found for each in cat.taken_for] == ["background", "dog", "unlabelled"]
    assert [each.truth for each in cat.found_for] == ["background"]
    assert cat.worst == (Sample("a", "IoU 12.3 %"),)
    assert dog.values == (None,)
    assert [each.truth for each in dog.found_for] == ["cat"]
    assert dog.worst == dog.best == ()
