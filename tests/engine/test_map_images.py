import threading
import time
from io import StringIO

import pytest
import torch
from rich.console import Console

from tag2mask.engine.map_images import (
    for_each_image,
    in_single_threads,
    in_threads,
    map_images,
    read_ahead,
    see_each,
)
from tag2mask.engine.progress import Progress
from tag2mask.engine.runtime import Runtime

ITEMS = list(range(40))


def mapped(function, items=ITEMS, workers=1):
    return map_images(function, items, runtime=Runtime(workers=workers), title="test")


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_results_come_in_the_order_of_the_items(workers):
    def slow_at_first(item):
        time.sleep(0.01 if item < 2 else 0)
        return item * item

    found = list(mapped(slow_at_first, workers=workers))
    assert found == [item * item for item in ITEMS]


@pytest.mark.parametrize("workers", [1, 4])
def test_no_item_yields_nothing(workers):
    assert list(mapped(str, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 4])
def test_error_comes_in_its_place_and_stops_the_rest(workers):
    begun = set()

    def fail_at_five(item):
        begun.add(item)
        if item == 5:
            raise ValueError("five")
        return item

    results = mapped(fail_at_five, workers=workers)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert len(begun) < len(ITEMS)
    assert list(results) == []


def test_only_a_few_items_are_under_way():
    begun = []
    results = mapped(begun.append, list(range(1000)), workers=2)
    for taken in range(1, 51):
        next(results)
        assert len(begun) < taken + 8  # four for each of the two workers
    results.close()
    assert len(begun) < 58


def test_torch_has_one_thread_while_workers_run_and_its_own_afterwards():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = list(mapped(lambda _: torch.get_num_threads(), workers=2))
        assert set(found) == {1}
        assert torch.get_num_threads() == 2
        results = mapped(lambda _: 1 // 0, workers=2)
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_one_worker_is_the_calling_thread():
    assert set(mapped(lambda _: threading.get_ident())) == {threading.get_ident()}


def test_progress_counts_every_item(monkeypatch):
    monkeypatch.setattr("tag2mask.engine.progress._SECONDS_BETWEEN_LINES", 0)
    told = StringIO()
    runtime = Runtime(workers=2, progress=Progress(Console(file=told, width=80)))
    for_each_image(lambda _: None, [1, 2, 3], runtime=runtime, title="seed")
    lines = [line.split(",")[0] for line in told.getvalue().splitlines()]
    assert lines[:3] == ["seed: 1/3", "seed: 2/3", "seed: 3/3"]


def test_for_each_image_calls_for_each():
    seen = []
    for_each_image(seen.append, ITEMS, runtime=Runtime(workers=1), title="test")
    assert seen == ITEMS


def test_read_ahead_pairs_items_with_what_was_read():
    assert list(read_ahead(str, [1, 2, 3])) == [(1, "1"), (2, "2"), (3, "3")]
    assert list(read_ahead(str, [])) == []


def test_read_ahead_reads_one_item_ahead_and_no_more():
    begun = []
    for item, _ in read_ahead(begun.append, range(10)):
        assert len(begun) <= item + 2
    assert begun == list(range(10))


def test_read_ahead_raises_where_the_item_would_have_come():
    pairs = read_ahead(lambda item: 1 // item, [1, 0, 1])
    assert next(pairs) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(pairs)


def test_items_for_threads_are_made_in_the_calling_thread_and_not_far_ahead():
    makers, made, most_ahead, results = set(), 0, 0, 0

    def items():
        nonlocal made
        for number in range(60):
            makers.add(threading.get_ident())
            made += 1
            yield number

    for result in in_threads(lambda number: 2 * number, items(), workers=2):
        assert result == 2 * results
        results += 1
        most_ahead = max(most_ahead, made - results)
    assert results == 60
    assert makers == {threading.get_ident()}
    assert most_ahead < 10


def test_an_error_in_a_thread_stops_the_rest():
    made = []

    def items():
        for number in range(60):
            made.append(number)
            yield number

    def fail(number):
        if number == 3:
            raise ValueError("three")
        return number

    found = in_threads(fail, items(), workers=2)
    assert [next(found), next(found), next(found)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(found)
    assert len(made) < 20


def test_see_each_hands_over_what_was_read_by_threads_on_a_cpu():
    seen = []
    see_each(
        lambda batch: [str(each) for each in batch],
        lambda batch, texts: seen.append((batch, texts, threading.get_ident())),
        [(1, 2), (3,)],
        runtime=Runtime(workers=3),
        title="test",
    )
    assert sorted(each[:2] for each in seen) == [((1, 2), ["1", "2"]), ((3,), ["3"])]
    assert threading.get_ident() not in {thread for *_, thread in seen}


def test_see_each_sees_in_turn_elsewhere_and_counts_images(monkeypatch):
    monkeypatch.setattr("tag2mask.engine.progress._SECONDS_BETWEEN_LINES", 0)
    told, seen = StringIO(), []
    see_each(
        lambda batch: [str(each) for each in batch],
        lambda batch, texts: seen.append((batch, texts, threading.get_ident())),
        [(1, 2), (3,)],
        runtime=Runtime(
            device=torch.device("meta"),
            workers=3,
            progress=Progress(Console(file=told, width=80)),
        ),
        title="cam",
    )
    here = threading.get_ident()
    assert seen == [((1, 2), ["1", "2"], here), ((3,), ["3"], here)]
    assert told.getvalue().splitlines()[0].startswith("cam: 2/3")


def test_torch_has_its_threads_again_however_single_threads_overlap():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        outer = in_single_threads(str, [1, 2], workers=1)
        next(outer)
        assert torch.get_num_threads() == 1
        assert list(in_single_threads(str, [3], workers=1)) == ["3"]
        assert torch.get_num_threads() == 1
        outer.close()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
