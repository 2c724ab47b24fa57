"""What every request passes on its way in, and every answer on its way out.

In this order: a name and a line of log (`Watch`), headers that protect (`Safe`), where nobody needs
a key a look at who sends (`Local`), a limit on how many are inside at once (`Crowd`), and a limit
on the body (`Cap`).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from linocut.errors import Forbidden, LinocutError, PayloadTooLarge, Unavailable
from linocut.server.metrics import Metrics
from linocut.server.problems import respond
from linocut.server.settings import is_loopback

log = structlog.get_logger(__name__)

REQUEST_ID: Final = "X-Request-Id"
EXPOSED: Final = (
    REQUEST_ID, "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed",
    "Link", "Preference-Applied",
)  # fmt: skip
ALLOWED: Final = (
    "API-KEY", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer",
    REQUEST_ID, "x-key",
)  # fmt: skip
QUIET: Final = frozenset({"/livez", "/readyz", "/health", "/ready", "/metrics"})
SAFE: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
SHOWN: Final = 64
_PORT: Final = re.compile(r":\d*$", re.ASCII)
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def name_of(headers: Headers) -> str:
    """The name that a request's caller gave it, if it is one; else a new one."""
    sent = headers.get(REQUEST_ID, "")
    return sent if _WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex


class Watch:
    """Names every request, and tells the log and the metrics how it ended."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        name = name_of(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = name
        structlog.contextvars.bind_contextvars(request_id=name)

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            await send(message)

        try:
            await self.app(scope, receive, named)
        finally:
            self._tell(scope, status, time.perf_counter() - begun)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        """The route's template and never the path: a path may hold words of a prompt."""
        route = getattr(scope.get("route"), "path", "") or "(none)"
        self.metrics.answered(scope["method"], route, status, seconds)
        tell = log.debug if route in QUIET else log.info
        record = scope.get("path_params", {}).get("uuid")
        known = {"record": str(record)} if record else {}
        tell(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            seconds=round(seconds, 4),
            **known,
        )


class Safe:
    """Headers that keep browsers from guessing; what a route says itself counts more."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, safely)


class Local:
    """Refuses what pages of elsewhere have a browser send, where nobody needs a key.

    Such a page may have given its own name this computer's address: then `Host` is that name. Or it
    sends without being allowed to read the answer: then the browser says from where.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self.app, self.origins = app, frozenset(origins)
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        error = self._objection(scope) if scope["type"] == "http" else None
        if error is None:
            await self.app(scope, receive, send)
        else:
            await _refuse(error, scope, receive, send)

    def _objection(self, scope: Scope) -> Forbidden | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if not self._is_ours(host):
            return Forbidden(
                f"this server needs no keys, and so answers to its own names only; "
                f"{host[:SHOWN]!r} is none of them",
                hint="use http://127.0.0.1, or name the host in LINOCUT_ALLOWED_HOSTS",
            )
        site = headers.get("sec-fetch-site")
        strange = site == "cross-site" or (site is None and origin and not self._is_own(origin))
        if not strange or _is_a_visit(scope, headers) or self.origins & {origin, "*"}:
            return None
        return Forbidden(
            "this server needs no keys, and so takes nothing from the pages of other sites",
            hint="name the page's origin in LINOCUT_CORS_ORIGINS, or use keys (LINOCUT_AUTH=true)",
        )

    def _is_own(self, origin: str) -> bool:
        return self._is_ours(origin.partition("://")[2])

    def _is_ours(self, host: str) -> bool:
        host = host.lower()
        name = _PORT.sub("", host)
        return is_loopback(name) or not self.hosts.isdisjoint({host, name})


def _is_a_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link, or a page shows a picture by the link it was given."""
    shows = headers.get("sec-fetch-dest") == "document" or scope["path"].startswith("/files/")
    return shows and scope["method"] in {"GET", "HEAD"}


class Crowd:
    """At most `most` requests inside; health checks always come in."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self.app, self.most, self.inside = app, most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self.app(scope, receive, send)
            return
        if self.inside >= self.most:
            error = Unavailable(
                f"the server is busy with {self.most} requests", retry_after=1, hint="try again"
            )
            await _refuse(error, scope, receive, send)
            return
        self.inside += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.inside -= 1


class Cap:
    """Bodies of at most `most` bytes; a larger one is refused by its header, or while it comes."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = Headers(scope=scope).get("content-length", "")
        body = _Body(receive, send, self.most)
        if said.isdecimal() and int(said[:20]) > self.most:
            body.is_refused = True
        else:
            with suppress(_TooLarge):
                await self.app(scope, body.receive, body.send)
        if body.is_refused:
            await _refuse(_too_large(self.most), scope, receive, send)


class _TooLarge(PayloadTooLarge):
    """Raised where the body is read; whatever the reader makes of it is not sent."""


def _too_large(most: int) -> _TooLarge:
    return _TooLarge(f"the body takes more than {most:,} bytes")


@dataclass(slots=True)
class _Body:
    """A request's body as it comes."""

    inner_receive: Receive
    inner_send: Send
    most: int
    came: int = 0
    is_refused: bool = False

    async def receive(self) -> Message:
        message = await self.inner_receive()
        self.came += len(message.get("body", b""))
        if self.came > self.most:
            self.is_refused = True
            raise _too_large(self.most)
        return message

    async def send(self, message: Message) -> None:
        if not self.is_refused:
            await self.inner_send(message)


async def _refuse(error: LinocutError, scope: Scope, receive: Receive, send: Send) -> None:
    await respond(error, Request(scope))(scope, receive, send)
