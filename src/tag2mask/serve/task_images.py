"""The images of Label Studio's tasks, from the task itself or from one known server."""

import base64
import binascii
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from typing import IO, NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tag2mask.errors import DatasetError, Tag2MaskError

_SECONDS = 20
_SHOWN = 100
_SCHEMES = ("http", "https")


class _NoRedirects(HTTPRedirectHandler):
    """Leave a redirect as the answer: the key is for one server only."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none."""


class TaskImages(NamedTuple):
    """Reads the image that a task names.

    Attributes:
        origin: Of the Label Studio whose images may be fetched, as
            http://localhost:8080; None: nothing is fetched.
        key: Its access token, sent to it only.
        most_bytes: Of one image.
    """

    origin: str | None
    key: str | None
    most_bytes: int

    def read(self, address: str) -> bytes:
        """Return the file behind ``data:image/...;base64,...`` or an address.

        Raises:
            DatasetError: If it may not be fetched, cannot be or is too large.
        """
        if address.startswith("data:"):
            return _inline(address)
        if self.origin is None:
            raise DatasetError(
                f"the image {address[:_SHOWN]!r} is not in the task, and nothing is "
                f"fetched: start with --label-studio and the address of Label Studio"
            )
        url = _join(self.origin, address)
        if _origin_of(url) != self.origin:
            raise DatasetError(
                f"the image {address[:_SHOWN]!r} is not at {self.origin}; nothing is "
                f"fetched from elsewhere"
            )
        return self._fetch(url)

    def _fetch(self, url: str) -> bytes:
        headers = {"Authorization": f"Token {self.key}"} if self.key else {}
        try:
            opener = build_opener(_NoRedirects)
            with opener.open(Request(url, headers=headers), timeout=_SECONDS) as answer:
                content: bytes = answer.read(self.most_bytes + 1)
                status = answer.status
        except (OSError, HTTPException, UnicodeError, ValueError) as error:
            raise DatasetError(
                f"the image {url[:_SHOWN]!r} cannot be fetched: {error}"
            ) from None
        if status != HTTPStatus.OK or len(content) > self.most_bytes:
            raise DatasetError(
                f"the image {url[:_SHOWN]!r} cannot be fetched: expected at most "
                f"{self.most_bytes} bytes with status 200, got status {status}"
            )
        return content


def check_origin(address: str) -> str:
    """Return the origin of an address of Label Studio.

    Raises:
        Tag2MaskError: If it is no http address of a server.
    """
    origin = _origin_of(address)
    if origin is None or urlsplit(address).path not in ("", "/"):
        raise Tag2MaskError(
            f"--label-studio expects an address such as http://localhost:8080, got "
            f"{address!r}"
        )
    return origin


def _join(origin: str, address: str) -> str:
    """Return an address as seen from an origin; empty if it is none."""
    try:
        return urljoin(f"{origin}/", address)
    except ValueError:
        return ""


def _origin_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES or not parts.hostname or "@" in parts.netloc:
        return None
    is_default = port in (None, {"http": 80, "https": 443}[parts.scheme])
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _inline(address: str) -> bytes:
    head, _, content = address.partition(",")
    if not head.endswith(";base64"):
        raise DatasetError("an image in a task must be data:image/...;base64,...")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise DatasetError("the image in the task is no base64") from None
