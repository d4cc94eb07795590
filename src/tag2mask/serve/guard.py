"""Who may ask, and what every answer tells the browser."""

import base64
import hashlib
import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tag2mask.serve.limits import LimitedBody, Limits, too_large

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page may load what this server sends, and nothing else."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OPEN_PATHS = ("/", "/healthz")
_OPEN_FOLDER = "/page/"
LABEL_STUDIO = "/label-studio/"
_READING = ("GET", "HEAD")


class Guard:
    """Refuses strangers and bodies that are too large; adds headers to every answer.

    A page of another site that is open in the same browser cannot use the server: its
    requests carry an ``Origin`` that is not ours, and a name of its own that it lets
    point here is no name that we answer to.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        token: str | None = None,
        hosts: frozenset[str] | None = None,
    ) -> None:
        """Stand before an application.

        Args:
            app: What is guarded.
            limits: Of bodies.
            token: That callers must name; None: everyone may ask.
            hosts: Names that the server answers to; None: any.
        """
        self._app = app
        self._limits = limits
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except HTTPException as refusal:
            answer = JSONResponse(
                {"detail": refusal.detail}, refusal.status_code, refusal.headers
            )
            await answer(scope, receive, send_guarded)
            return
        await self._app(scope, LimitedBody(receive, self._limits), send_guarded)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or "" if _is_plain(host) else ""
        if self._hosts is not None and name not in self._hosts:
            raise HTTPException(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this server answers to {', '.join(sorted(self._hosts))}",
            )
        origin = headers.get("origin")
        is_foreign = origin is not None and origin.partition("://")[2] != host
        if is_foreign and scope["method"] not in _READING:
            raise HTTPException(
                HTTPStatus.FORBIDDEN, "requests of pages of other sites are refused"
            )
        if not self._is_open(scope) and not self._is_known(scope, headers):
            raise HTTPException(
                HTTPStatus.UNAUTHORIZED,
                "this server needs a token: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._limits.upload_bytes:
            raise too_large(self._limits)

    def _is_open(self, scope: Scope) -> bool:
        """Whether a path tells nothing: the page itself, and that the server lives."""
        path: str = scope["path"]
        is_open = path in _OPEN_PATHS or path.startswith(_OPEN_FOLDER)
        return self._token is None or (is_open and scope["method"] in _READING)

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        """Whether the token is named; Label Studio can only name it as a password."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic" and scope["path"].startswith(LABEL_STUDIO):
            value = _password(value)
        elif kind.lower() != "bearer":
            return False
        # digests, so that not even the length of the token shows in the time
        given, known = (
            hashlib.sha256(text.encode()).digest()
            for text in (value.strip(), self._token or "")
        )
        return hmac.compare_digest(given, known)


def _password(value: str) -> str:
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except ValueError:  # no base64, or no text in it
        return ""
    return pair.partition(":")[2]


def _is_plain(host: str) -> bool:
    try:
        urlsplit(f"//{host}")
    except ValueError:  # brackets that are not of an address
        return False
    return "@" not in host and "/" not in host
