"""One function over many images: in this thread, or in a pool of threads.

Threads, since decoding, compiled kernels and torch all release the interpreter's lock:
nothing is pickled, and memory holds a few images per worker however many there are.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from tag2mask.engine.runtime import Runtime

_AHEAD = 4

Item = TypeVar("Item")
Result = TypeVar("Result")
Batch = TypeVar("Batch", bound=Sized)


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
        for result in _in_workers(function, items, workers=runtime.workers):
            yield result
            advance(1)


def _in_workers(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield results by so many threads; of one, by the calling one."""
    if workers <= 1:
        return map(function, items)
    return in_single_threads(function, items, workers=workers)


def in_single_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int
) -> Iterator[Result]:
    """Yield as ``in_threads`` does, while torch has one thread in each of them.

    Else it starts a pool of its own in every worker.
    """
    with one_torch_thread:
        yield from in_threads(function, items, workers=workers)


class _OneTorchThread:
    """A context in which torch has one thread, wherever else it was entered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before = 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._before = torch.get_num_threads()
            self._depth += 1
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            torch.set_num_threads(1 if self._depth else self._before)


one_torch_thread = _OneTorchThread()
"""In a thread whose first use of torch is in this context, torch has one for good."""


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
    read: Callable[[Batch], Result],
    see: Callable[[Batch, Result], None],
    batches: Sequence[Batch],
    *,
    runtime: Runtime,
    title: str,
) -> None:
    """Call ``see(batch, read(batch))`` for each batch, where ``see`` asks a network.

    On a CPU a batch a thread: faster than all threads of torch on one after the other
    (28 ms an image against 32 on two cores, a MobileNetV2 at 384x288), the more so
    beside other work. On a GPU in turn, reading the next one meanwhile.

    Args:
        read: Reads images from disk.
        see: On a CPU it must be safe to call from several threads at once, unless there
            is one worker.
        batches: Images that are seen together.
        runtime: Where, and how many threads.
        title: Names the work in the progress display, which counts images.
    """
    with runtime.progress.task(title, sum(map(len, batches))) as advance:
        if runtime.device.type == "cpu":

            def look(batch: Batch) -> int:
                see(batch, read(batch))
                return len(batch)

            for count in _in_workers(look, batches, workers=runtime.workers):
                advance(count)
            return
        for batch, content in read_ahead(read, batches):
            see(batch, content)
            advance(len(batch))


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
