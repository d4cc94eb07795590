"""One thread for the network, which takes waiting images of one size together."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

_RECENT = 0.2
"""Share of the last batch in the running mean of seconds an image."""


class Question(NamedTuple):
    """An image to predict, and whether its probabilities are wanted too."""

    pixels: UInt8[Tensor, "h w 3"]
    wants_probabilities: bool


class Answer(NamedTuple):
    """The class of each pixel, and the probability of each class if it was wanted."""

    labels: UInt8[np.ndarray, "h w"]
    probabilities: Float[np.ndarray, "k h w"] | None


Predictor = Callable[[Sequence[Question]], Sequence[Answer]]


class _Job(NamedTuple):
    question: Question
    answer: Future[Answer]


class ModelWorker:
    """Answers questions in their order, those of equal size in one batch.

    It never waits for a batch to fill: what waits while the network is busy makes the
    next one. The oldest question is always in it, so that none starves.
    """

    def __init__(
        self, predict: Predictor, *, most_images: int, most_pixels: int
    ) -> None:
        """Start the thread.

        Args:
            predict: Answers several questions of one size.
            most_images: Of a batch.
            most_pixels: Of a batch; a single image may have more.
        """
        self._predict = predict
        self._most_images = most_images
        self._most_pixels = most_pixels
        self._waiting: deque[_Job] = deque()
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.seconds_per_image = 0.0

    def submit(self, question: Question) -> Future[Answer]:
        """Put a question at the end of the queue.

        Raises:
            RuntimeError: If the worker was closed.
        """
        job = _Job(question, Future())
        with self._lock:
            self._waiting.append(job)
        batch: list[_Job] = []
        # one turn for each question; those whose question was in an earlier batch idle
        turn = self._thread.submit(self._take_turn, batch)
        turn.add_done_callback(partial(_deliver, batch))
        return job.answer

    def close(self) -> None:
        """Answer what was taken, then end the thread."""
        self._thread.shutdown(wait=True)

    def _take_turn(self, batch: list[_Job]) -> Sequence[Answer]:
        batch += self._next_batch()
        if not batch:
            return ()
        begun = time.perf_counter()
        answers = self._predict([job.question for job in batch])
        seconds = (time.perf_counter() - begun) / len(batch)
        share = _RECENT if self.seconds_per_image else 1.0
        self.seconds_per_image += share * (seconds - self.seconds_per_image)
        return answers

    def _next_batch(self) -> list[_Job]:
        with self._lock:
            jobs = [job for job in self._waiting if not job.answer.cancelled()]
            if not jobs:
                self._waiting.clear()
                return []
            shape = jobs[0].question.pixels.shape
            fit = max(1, self._most_pixels // max(1, shape[0] * shape[1]))
            alike = [job for job in jobs if job.question.pixels.shape == shape]
            batch = alike[: min(fit, self._most_images)]
            chosen = {id(job) for job in batch}
            self._waiting = deque(job for job in jobs if id(job) not in chosen)
        # from here on nobody can take a question back
        return [job for job in batch if job.answer.set_running_or_notify_cancel()]


def _deliver(batch: Sequence[_Job], turn: Future[Sequence[Answer]]) -> None:
    """Hand out the answers of a batch, or what went wrong with it."""
    if (error := turn.exception()) is not None:
        for job in batch:
            job.answer.set_exception(error)
        return
    for job, answer in zip(batch, turn.result(), strict=True):
        job.answer.set_result(answer)
