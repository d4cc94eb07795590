"""Progress of long work with its time left: on a terminal a bar, elsewhere lines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows tasks one after another.

    Args:
        console: Where to show them; None shows nothing.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console

    @contextmanager
    def task(
        self, title: str, total: int | None, *, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """Yield a function that is told how many items were finished.

        Args:
            title: Names the work.
            total: Items in all; None if that is not known.
            done: Items that were finished before, which tell nothing of the speed.
        """
        if self._console is None:
            yield lambda _: None
        elif self._console.is_terminal:
            with self._bar(title, total, done) as advance:
                yield advance
        else:
            with _lines(self._console, title, total, done) as advance:
                yield advance

    def say(self, text: str) -> None:
        """Print one line between the bars."""
        if self._console is not None:
            self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def _bar(
        self, title: str, total: int | None, done: int
    ) -> Iterator[Callable[[int], None]]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=total, completed=done)
            yield lambda count: bars.advance(task, count)


@contextmanager
def _lines(
    console: Console, title: str, total: int | None, done: int
) -> Iterator[Callable[[int], None]]:
    begun = told = time.monotonic()
    finished = 0

    def advance(count: int) -> None:
        nonlocal finished, told
        finished += count
        now = time.monotonic()
        if now - told >= _SECONDS_BETWEEN_LINES and total and finished:
            told = now
            so_far = done + finished
            left = (now - begun) / finished * (total - so_far)
            console.print(
                f"{title}: {so_far}/{total}, {left:.0f} s left", highlight=False
            )

    yield advance
    seconds = time.monotonic() - begun
    console.print(f"{title}: done in {seconds:.1f} s", highlight=False)
