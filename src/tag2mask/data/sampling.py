"""Endless shuffled batches that depend on nothing but a random seed and the step."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch.utils.data import DataLoader, Dataset, Sampler

Sample = dict[str, Any]
_PR_SET_PDEATHSIG = 1


class Tickets(Dataset[Sample]):
    """Sample number n of an endless stream over ``num_images`` images.

    Every image comes once before any comes again; each round has its own order.
    """

    def __init__(
        self,
        draw: Callable[[int, Generator], Sample],
        *,
        num_images: int,
        random_seed: int,
    ) -> None:
        self._draw = draw
        self._num_images = num_images
        self._random_seed = random_seed
        self._round = -1
        self._order = np.empty(0, np.int64)

    def __getitem__(self, ticket: int) -> Sample:
        number, place = divmod(ticket, self._num_images)
        if number != self._round:
            rng = np.random.default_rng([self._random_seed, 0, number])
            self._round, self._order = number, rng.permutation(self._num_images)
        rng = np.random.default_rng([self._random_seed, 1, ticket])
        return self._draw(int(self._order[place]), rng)


class _Steps(Sampler[list[int]]):
    """The tickets of each step, from ``first`` up to ``last``."""

    def __init__(self, first: int, last: int, batch: int) -> None:
        self._steps = range(first, last)
        self._batch = batch

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            yield list(range(step * self._batch, (step + 1) * self._batch))

    def __len__(self) -> int:
        return len(self._steps)


def batches(
    tickets: Tickets,
    *,
    first: int,
    last: int,
    batch: int,
    workers: int,
    pin_memory: bool = False,
) -> DataLoader[Sample]:
    """Return the batches of steps ``first`` to ``last - 1``.

    Args:
        tickets: The stream.
        first: Step to begin with; a resumed run begins where it stopped.
        last: Step to end before.
        batch: Samples per step.
        workers: Processes that draw samples; 0 draws in this one. It does not change
            what is drawn. Where processes cannot be forked it is 0.
        pin_memory: Put batches where a GPU copies them from while it computes.
    """
    if multiprocessing.get_start_method() != "fork":
        workers = 0  # what draws is a closure, which cannot be sent to a new process
    return DataLoader(
        tickets,
        batch_sampler=_Steps(first, last, batch),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=pin_memory,
        # without it the loader takes a number from the generator that dropout uses,
        # and a resumed training would drop other channels
        generator=torch.Generator(),
        worker_init_fn=_end_with(os.getpid()) if workers else None,
    )


def _end_with(parent: int) -> Callable[[int], None]:
    """Return what makes a process that loads end when its parent does.

    torch sees to that itself, unless the parent is killed while the process starts:
    then it takes whoever adopts it for its parent, and waits for ever.
    """

    def start(_: int) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return start
