"""One function over many images: in this thread, or in a pool of threads.

Threads, since decoding, compiled kernels and torch all release the interpreter's lock:
nothing is pickled, and memory holds a few images per worker however many there are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from tag2mask.engine.runtime import Runtime, default_workers

_AHEAD = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_images(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    runtime: Runtime,
    title: str,
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in their order.

    At most a few items per worker are under way. The first exception is raised where
    its result would have been yielded, and the rest is not begun.

    Args:
        function: Must be safe to call from several threads at once.
        items: One for each image.
        runtime: How many threads, and where progress is shown; one worker runs in
            the calling thread.
        title: Names the work in the progress display.
    """
    with runtime.progress.task(title, len(items)) as advance:
        if runtime.workers <= 1:
            for item in items:
                yield function(item)
                advance(1)
            return
        for result in in_single_threads(function, items, workers=runtime.workers):
            yield result
            advance(1)


def in_single_threads(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield as ``in_threads`` does, while torch has one thread in each of them.

    Args:
        function: Must be safe to call from several threads at once.
        items: One for each image.
        workers: How many threads; None: one for each core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # else it starts a pool of its own in every worker
    try:
        yield from in_threads(function, items, workers=workers or default_workers())
    finally:
        torch.set_num_threads(before)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in their order, computed by threads.

    The items are made in the calling thread, meanwhile, and never more than a few per
    worker at a time. Exceptions: as in ``map_images``.
    """
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def for_each_image(
    function: Callable[[Item], None],
    items: Sequence[Item],
    *,
    runtime: Runtime,
    title: str,
) -> None:
    """Call ``function`` for each item, as ``map_images`` does."""
    for _ in map_images(function, items, runtime=runtime, title=title):
        pass


def see_each(
    read: Callable[[Item], Result],
    see: Callable[[Item, Result], None],
    items: Sequence[Item],
    *,
    runtime: Runtime,
    title: str,
) -> None:
    """Call ``see(item, read(item))`` for each item, where ``see`` asks a network.

    On a CPU an item a thread: faster than one item by all threads of torch (51 ms by
    one, 38 by two: a MobileNetV2 at 384x288). On a GPU in turn, reading the next one
    meanwhile.

    Args:
        read: Reads images from disk.
        see: On a CPU it must be safe to call from several threads at once, unless there
            is one worker.
        items: One for each image, or batch of images.
        runtime: Where, and how many threads.
        title: Names the work in the progress display.
    """
    if runtime.device.type == "cpu":
        for_each_image(
            lambda item: see(item, read(item)), items, runtime=runtime, title=title
        )
        return
    with runtime.progress.task(title, len(items)) as advance:
        for item, content in read_ahead(read, items):
            see(item, content)
            advance(1)


def read_ahead(
    read: Callable[[Item], Result], items: Sequence[Item]
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with ``read(item)``, reading the next while one is in use."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[Result]] = deque()
        for number, item in enumerate(items):
            for later in items[number + len(pending) : number + 2]:
                pending.append(pool.submit(read, later))
            yield item, pending.popleft().result()
