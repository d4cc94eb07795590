"""What the routes share: the model and its thread, the review, the bounds."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus

import torch
from anyio import CapacityLimiter, to_thread
from starlette.exceptions import HTTPException

from tag2mask.data.images import decode_image
from tag2mask.errors import DatasetError, ModelError
from tag2mask.serve.gallery import Gallery
from tag2mask.serve.limits import Admission, Limits
from tag2mask.serve.served import Served
from tag2mask.serve.task_images import TaskImages
from tag2mask.serve.worker import Answer, ModelWorker, Question

_DECODERS = 2
"""Images decoded at once: they hold memory, and the network wants the cores."""
_LONGEST_WAIT = 60


@dataclass(frozen=True)
class Service:
    """What is served, and to whom.

    Attributes:
        name: Of what is served, for people.
        model: Answers for images; None: the run has no segmenter yet.
        gallery: The review; None: there is no run, or it has no vote yet.
        limits: Of what is taken in.
        task_images: Reads the images of Label Studio's tasks.
    """

    name: str
    model: Served | None
    gallery: Gallery | None
    limits: Limits
    task_images: TaskImages

    @property
    def served(self) -> Served:
        """Return the model.

        Raises:
            ModelError: If there is none.
        """
        if self.model is None:
            raise ModelError(
                "this run has no segmenter yet; run its recipe to its end and start "
                "again"
            )
        return self.model

    @property
    def model_version(self) -> str:
        """What tells this model from others."""
        return self.model.version if self.model else "none"

    @cached_property
    def worker(self) -> ModelWorker:
        """The thread of the network, started when it is first asked for."""
        return ModelWorker(
            self.served.predict,
            most_images=self.limits.batch,
            most_pixels=self.limits.batch_pixels,
        )

    @cached_property
    def admission(self) -> Admission:
        """The places of requests for predictions."""
        return Admission(self.limits.queue)

    @cached_property
    def _decoders(self) -> CapacityLimiter:
        return CapacityLimiter(_DECODERS)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue while a caller's images are looked at.

        Raises:
            HTTPException: 429 if there is none; 400 for what is wrong with an image.
        """
        waiting = self.admission.taken * self.worker.seconds_per_image
        seconds = min(_LONGEST_WAIT, max(1, math.ceil(waiting)))
        with self.admission.place(retry_after=seconds):
            try:
                yield
            except DatasetError as error:
                raise HTTPException(HTTPStatus.BAD_REQUEST, str(error)) from None

    async def answer(self, data: bytes, *, wants_probabilities: bool) -> Answer:
        """Decode an image and have it predicted, off the event loop.

        Raises:
            DatasetError: If it is no image or has too many pixels.
        """
        most = self.limits.pixels

        def decode() -> Question:
            pixels = torch.from_numpy(decode_image(data, most_pixels=most))
            return Question(pixels, wants_probabilities)

        question = await to_thread.run_sync(decode, limiter=self._decoders)
        return await asyncio.wrap_future(self.worker.submit(question))

    def close(self) -> None:
        """Finish what was taken."""
        if "worker" in self.__dict__:
            self.worker.close()
