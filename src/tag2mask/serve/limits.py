"""What one caller may cost: bytes, pixels, seconds, and places in the queue."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

_CLOSE = {"Connection": "close"}
"""What is left of a body that was refused is not read as the next request."""


@dataclass(frozen=True)
class Limits:
    """Bounds of what is taken in.

    Attributes:
        upload_bytes: Of the body of one request.
        pixels: Width times height of one image.
        body_seconds: Until the whole body must have arrived.
        queue: Requests for predictions that are under way at once; more get a 429.
        batch: Images of one size that are predicted together: at once, or side by side.
        batch_pixels: Pixels of such a batch; one image may have more.
    """

    upload_bytes: int = 20_000_000
    pixels: int = 12_600_000
    body_seconds: float = 30
    queue: int = 16
    batch: int = 4
    batch_pixels: int = 1_000_000


class Admission:
    """Counts the requests under way; used by the event loop only.

    A request takes its place before its body is read, so that memory is bounded by
    the places times the greatest body.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self.taken = 0

    @contextmanager
    def place(self, *, retry_after: int) -> Iterator[None]:
        """Hold a place.

        Args:
            retry_after: Seconds after which a caller that is refused may come again.

        Raises:
            HTTPException: 429 with Retry-After if all places are taken.
        """
        if self.taken >= self._places:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{self.taken} requests are under way; try again in {retry_after} s",
                {"Retry-After": str(retry_after)} | _CLOSE,
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class LimitedBody:
    """What an application receives of a request, until it is too much or too slow."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._deadline: float | None = None
        self._bytes = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        """Return the next message.

        Raises:
            HTTPException: 413 if the body is too large, 408 if it takes too long.
        """
        if self._is_whole:  # only the end of the connection is waited for
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._limits.body_seconds
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                f"the body was not whole within {self._limits.body_seconds:g} s",
                _CLOSE,
            ) from None
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._limits.upload_bytes:
            raise too_large(self._limits)
        self._is_whole = not message.get("more_body", False)
        return message


def too_large(limits: Limits) -> HTTPException:
    """Return the refusal of a body that has too many bytes."""
    return HTTPException(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body has more than {limits.upload_bytes} bytes",
        _CLOSE,
    )
