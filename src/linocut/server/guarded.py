"""uvicorn's HTTP/1.1 protocol with the patience of a public server: limited.

uvicorn waits for ever for headers, for a body, and for a client that does not read; and it takes
headers of any size, and requests for no host or for two. Here a look at every connection once in a
while ends what stands still, and what is refused is answered as a problem like everything else.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from linocut.errors import InvalidBody, InvalidRequest, LinocutError, PayloadTooLarge
from linocut.server.edge import REQUEST_ID, SAFE, name_of
from linocut.server.problems import MEDIA_TYPE, problem

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

log = structlog.get_logger(__name__)

LOOK: Final = 0.5
LINGER: Final = 2.0
BYTES_A_SECOND: Final = 16_384  # a body that comes more slowly than this has no claim to wait
TAKEN_A_SECOND: Final = 4_096  # an answer that is taken more slowly than this is not waited for
OUT_OF_SIGHT: Final = 16_384  # bytes of an answer that the system asks for ahead of sending them
NOTSENT_LOWAT: Final = {"linux": 25, "darwin": 0x201}.get(sys.platform)  # socket may not name it
LARGE: Final = 16_384  # bytes of a body that is not waited for outside
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER that drops what the client has not taken
_HOST: Final = re.compile(rb"(\[[\w.:~%-]+\]|[\w.~%!$&'()*+,;=-]*)(:\d*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long, and how much. Seconds and bytes.

    head_seconds: for a request's line and headers, and for the first of them on a connection.
    stall_seconds: for a body to begin coming, or a client to take what it asked for; what comes
        or is taken buys more, at the rates above.
    """

    head_seconds: float = 8.0
    stall_seconds: float = 8.0
    head_bytes: int = 32_768


def guarded_protocol(patience: Patience) -> Callable[..., asyncio.Protocol]:
    """What uvicorn's Config takes as `http`."""
    return partial(GuardedProtocol, patience=patience)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `_head_since` and `_body_since` are None outside of a head or a body.

    `_outside`: a request whose body has not come, and the application it is for.
    """

    __slots__ = (
        "_body_bytes", "_body_since", "_close_at", "_head_bytes", "_head_since", "_looked",
        "_moved", "_next_look", "_objection", "_outside", "_unsent", "patience",
    )  # fmt: skip

    def __init__(self, *arguments: Any, patience: Patience, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.patience = patience
        self._head_since: float | None = None
        self._head_bytes = 0
        self._body_since: float | None = None
        self._body_bytes = 0
        self._unsent = 0
        self._moved = 0.0
        self._looked = 0.0
        self._close_at: float | None = None
        self._next_look: asyncio.TimerHandle | None = None
        self._objection: tuple[int, LinocutError] | None = None
        self._outside: tuple[RequestResponseCycle, ASGI3Application] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The clock of the first request's head begins to run."""
        super().connection_made(transport)
        # Else the system takes megabytes off our hands, and asks for more only when a third of them
        # has left: a client that takes 400 KB a second would seem to stand still for seconds.
        if NOTSENT_LOWAT is not None:
            link = transport.get_extra_info("socket")
            link.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, OUT_OF_SIGHT)
        self._head_since = self._moved = self._looked = self.loop.time()
        self._next_look = self.loop.call_later(LOOK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody looks any more, and what has not begun does not begin."""
        self._outside = None
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count, then parse."""
        if self.transport.is_closing():
            return
        if self._head_since is not None:
            self._head_bytes += len(data)
        else:
            self._body_bytes += len(data)
        super().data_received(data)
        if self._head_since is not None and self._head_bytes > self.patience.head_bytes:
            self._objection = self._too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        if self._head_since is None:
            self._head_since, self._head_bytes = self.loop.time(), 0

    def on_headers_complete(self) -> None:
        """A request's head is whole: the application runs, unless there is an objection."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        fault = _fault_of_host(self.parser.get_http_version(), self.headers)
        if size > self.patience.head_bytes:
            self._objection = self._too_large()
        elif fault:
            self._objection = 400, InvalidRequest(fault, field="Host", hint="name one host")
        if self._objection is not None:
            raise ValueError("a head that is refused")  # the parser turns it into its own error
        self._head_since = None
        self._body_since, self._body_bytes = self.loop.time(), 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body: of a large one the application hears while it comes."""
        super().on_body(body)
        if len(self.cycle.body) >= LARGE:
            self._let_in()

    def on_message_complete(self) -> None:
        """A request's last byte."""
        self._body_since = self._close_at = None
        super().on_message_complete()
        self._let_in()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Not before its body has come: inside, a request that waits for it holds 30 KB more."""
        is_coming = cycle is self.cycle and cycle.more_body and not cycle.waiting_for_100_continue
        if is_coming and max(len(cycle.body), _said_size(self.headers)) < LARGE:
            self._outside = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def _let_in(self) -> None:
        if self._outside is not None:
            waiting, self._outside = self._outside, None
            super()._start_asgi_task(*waiting)

    def on_response_complete(self) -> None:
        """An answer's last byte; a body that is still coming is heard for a moment, not more."""
        super().on_response_complete()
        if self._body_since is not None:
            self._close_at = self.loop.time() + LINGER
        elif self._head_since is None and self.cycle is not None and self.cycle.response_complete:
            # Else every idle connection keeps its last request.
            self.headers = []
            self.scope = self.cycle.scope = {}  # type: ignore[typeddict-item]
            self.cycle.body = bytearray()

    def pause_writing(self) -> None:
        """More waits for the client than should."""
        self._count_taken(self.loop.time())
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken most of it; what is written next must not hide that."""
        self._count_taken(self.loop.time())
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """A problem in place of uvicorn's line of text; then the connection ends."""
        unread = InvalidBody("this is no HTTP/1.1 request that can be read")
        self._refuse(*(self._objection or (400, unread)))

    def _too_large(self) -> tuple[int, LinocutError]:
        most = self.patience.head_bytes
        hint = "send fewer headers, or shorter ones"
        return 431, PayloadTooLarge(f"the headers take more than {most:,} bytes", hint=hint)

    def _refuse(self, status: int, error: LinocutError) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            name = self._name()
            body = problem(error, request_id=name, instance="", status=status)
            self.transport.write(_answer(body, name, self.server_state.default_headers))
            log.info("refused", request_id=name, status=status, code=error.code)
        self.transport.close()

    def _name(self) -> str:
        """As the application or the caller has named what is coming; else a new one."""
        if self._body_since is None:
            return name_of(Headers())
        return self.scope["state"].get("request_id") or name_of(Headers(raw=self.headers))

    def _look(self) -> None:
        """Whether it still moves; and when to look again."""
        now = self.loop.time()
        self._count_taken(now)
        if now > self._moved + self.patience.stall_seconds:
            self._reset()
            return
        if self._close_at is not None and now > self._close_at:
            self.transport.close()
        elif self._is_idle():
            self._head_since, self._head_bytes = now, 0
        elif self._is_late(now):
            hint = "send it whole, and without pauses"
            self._refuse(408, InvalidBody("the request took too long to come", hint=hint))
        self._looked = now
        self._next_look = self.loop.call_later(LOOK, self._look)

    def _is_idle(self) -> bool:
        """Between two requests, with nobody watching: uvicorn's own clock has been stopped."""
        answered = self.cycle is not None and self.cycle.response_complete
        reading = self._head_since is not None or self._body_since is not None
        return answered and not reading and self.timeout_keep_alive_task is None

    def _is_late(self, now: float) -> bool:
        if self.transport.is_closing():
            return False
        if self._head_since is not None:
            return now > self._head_since + self.patience.head_seconds
        if self._body_since is None:
            return False
        if self.flow.read_paused:  # it is the application that does not take
            self._body_since += now - self._looked
        due = self._body_since + self.patience.stall_seconds
        return now > due + self._body_bytes / BYTES_A_SECOND

    def _count_taken(self, now: float) -> None:
        """Whoever takes all is up to date; whoever takes some is so much closer to it."""
        unsent = self.transport.get_write_buffer_size()
        taken, self._unsent = max(0, self._unsent - unsent), unsent
        self._moved = now if unsent == 0 else min(now, self._moved + taken / TAKEN_A_SECOND)

    def _reset(self) -> None:
        """End it for both sides: what the client does not take would stay in the system's hands."""
        link = self.transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()


def _fault_of_host(version: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
    """What RFC 9112, section 3.2, has refused in a head; nothing if it may pass."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        return f"the request names its Host {len(hosts)} times"
    if not hosts:
        return "" if version < "1.1" else "the request names no Host"
    return "" if _HOST.fullmatch(hosts[0].strip(b" \t")) else "the request's Host is no host"


def _said_size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Bytes that a head says will follow; the parser has seen to it that these are digits."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)


def _answer(body: dict[str, Any], name: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    content = json.dumps(body).encode()
    own = {
        **SAFE,
        REQUEST_ID: name,
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(content)),
        "Connection": "close",
    }
    told = [*headers, *((key.lower().encode(), value.encode()) for key, value in own.items())]
    lines = [key + b": " + value + b"\r\n" for key, value in told]
    return b"".join([STATUS_LINE[body["status"]], *lines, b"\r\n", content])
