"""Background words asked of a chat model behind an OpenAI-compatible endpoint."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

from tag2mask.data.classes.prompts import ClassPrompts, without_classes
from tag2mask.errors import Tag2MaskError

_MOST_BYTES = 1 << 20
_CHUNK = 1 << 16
_MOST_OF_MESSAGE = 200
"""Characters of a server's own complaint that are shown."""
_ITEM_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d+\s*[.):])\s*")
_COMMENT = re.compile(r"\s+[-–—(].*|:.*")  # noqa: RUF001
_WORDS = re.compile(r"[a-z]+(?:[ '-][a-z]+){0,3}")
"""A background word: one to four English words."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask.

    Attributes:
        base_url: What ``/chat/completions`` follows, such as
            ``http://localhost:11434/v1``.
        model: Its name there.
        api_key: Sent as a bearer token to this address and nowhere else; never shown.
        timeout: Seconds that connecting, each silence and the whole reply may take.

    Raises:
        Tag2MaskError: If the address is none of http or https, or the key cannot be
            sent.
        ValueError: If the timeout is not above 0.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, got {self.timeout}")
        if not _is_plain_address(self.base_url):
            # an address that is not understood may hold a password, and is not shown
            raise Tag2MaskError(
                "the endpoint's address must be http:// or https://, a host and a "
                "path, such as http://localhost:11434/v1, without user, ? or #; give "
                "a key as the API key"
            )
        key = self.api_key
        if key is not None and (not key.isascii() or not key.isprintable()):
            raise Tag2MaskError(
                "the API key holds a line break or another character that cannot be "
                "sent; copy it again"
            )

    @property
    def url(self) -> str:
        """Return the address that is asked."""
        return f"{self.base_url.rstrip('/')}/chat/completions"


def ask_words(
    endpoint: Endpoint,
    subject: ClassPrompts,
    classes: Sequence[ClassPrompts],
    *,
    num_words: int,
) -> tuple[str, ...]:
    """Ask for words of backgrounds that may co-occur with a class (CA-CL, 3.4).

    Words, numbers and commas around the list are taken off; what is no English word,
    is there already or mentions a class is left out.

    Args:
        endpoint: Where to ask.
        subject: The class.
        classes: All classes of the data.
        num_words: How many words to ask for, at least 1.

    Returns:
        At most ``num_words`` words, at least one, in the order of the reply.

    Raises:
        Tag2MaskError: If nothing or nothing usable is answered in time, naming
            address and class.
        ValueError: If ``num_words`` is below 1.
    """
    if num_words < 1:
        raise ValueError(f"num_words must be at least 1, got {num_words}")
    question = (
        f"List {num_words} English words of backgrounds that may co-occur with "
        f"{subject.names[0]!r} in a photo. Answer with the words only, one a line."
    )
    try:
        reply = _content(_post(endpoint, question), endpoint)
        words = without_classes(dict.fromkeys(parse_words(reply)), classes)
        if not words:
            said = _shown(reply, endpoint)
            raise _AnswerError(f"there is no usable word in {said!r}")
    except _AnswerError as problem:
        raise Tag2MaskError(
            f"{endpoint.url} gives no background words for {subject.tag!r}: {problem}"
        ) from None
    return words[:num_words]


def parse_words(reply: str) -> Iterator[str]:
    """Yield the words of a list as chat models write it, in lower case.

    One on each line or separated by commas, perhaps numbered, in quotes, in bold or
    with a remark behind it. Sentences and headings are passed over.
    """
    answer = reply.rpartition("</think>")[2]
    for line in answer.splitlines():
        if line.rstrip(" *").endswith(":") or line.lstrip().startswith("```"):
            continue
        for part in re.split(r"[,;]", _ITEM_MARK.sub("", line)):
            bare = _ITEM_MARK.sub("", part).replace("’", "'")  # noqa: RUF001
            bare = _COMMENT.sub("", bare.replace("*", "")).strip(" \t.`\"'[]“”_")
            if _WORDS.fullmatch(bare.lower()):
                yield bare.lower()


class _AnswerError(Exception):
    """Why there is no answer, to follow the names of address and class."""


class _TakeAnyAnswer(HTTPErrorProcessor):
    """Follows no redirect, which would take the key to another host."""

    def http_response(self, _: Request, response: HTTPResponse) -> HTTPResponse:
        return response

    def https_response(self, _: Request, response: HTTPResponse) -> HTTPResponse:
        return response


def _post(endpoint: Endpoint, question: str) -> bytes:
    messages = [{"role": "user", "content": question}]
    body = json.dumps({"model": endpoint.model, "messages": messages})
    headers = {"Content-Type": "application/json", "User-Agent": "tag2mask"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    request = Request(endpoint.url, body.encode(), headers)
    deadline = time.monotonic() + endpoint.timeout
    try:
        opener = build_opener(_TakeAnyAnswer)
        with opener.open(request, timeout=endpoint.timeout) as response:
            answer = _read(response, deadline)
    except (OSError, HTTPException, UnicodeError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            raise _AnswerError(
                f"no answer within {endpoint.timeout:g} s; give it more time, or see "
                f"whether the server is overloaded"
            ) from None
        raise _AnswerError(
            f"{_shown(str(reason), endpoint) or type(reason).__name__}; check the "
            f"address and that the server runs"
        ) from None
    if response.status != HTTPStatus.OK:
        _refuse(response, answer, endpoint)
    return answer


def _read(response: HTTPResponse, deadline: float) -> bytes:
    """Read a body that is neither endless nor dripping."""
    body = b""
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _AnswerError(
                f"the reply is longer than {_MOST_BYTES} bytes; check the address"
            )
        if time.monotonic() > deadline:
            raise TimeoutError
    return body


def _refuse(response: HTTPResponse, answer: bytes, endpoint: Endpoint) -> NoReturn:
    """Say what to do about an answer that is an error."""
    if 300 <= response.status < 400:
        target = _shown(response.headers.get("Location", ""), endpoint)
        raise _AnswerError(
            f"HTTP {response.status}, it points to {target!r}, where the key is not "
            f"taken; give the final address"
        )
    if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise _AnswerError(f"HTTP {response.status}; check the API key")
    said = f"{response.reason} {answer.decode(errors='replace')}"
    raise _AnswerError(
        f"HTTP {response.status} {_shown(said, endpoint)}; check the address and the "
        f"model, or try again later"
    )


def _content(body: bytes, endpoint: Endpoint) -> str:
    """Return the text of a chat completion."""
    try:
        content: Any = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        content = None
    if not isinstance(content, str):
        said = _shown(body.decode(errors="replace"), endpoint)
        raise _AnswerError(f"the reply is no chat completion but {said!r}")
    return content


def _shown(text: str, endpoint: Endpoint) -> str:
    """Make a server's text fit for a message: short, without key or control codes."""
    line = " ".join(text.split())
    line = "".join(each for each in line if each.isprintable())
    if endpoint.api_key:  # before it is cut, which might leave most of a key
        line = line.replace(endpoint.api_key, "…")
    short = line[:_MOST_OF_MESSAGE]
    return short if short == line else f"{short}…"


def _is_plain_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and has_port
        and not (parts.username or parts.query or parts.fragment or "@" in parts.netloc)
        and url.isprintable()
        and " " not in url
    )
