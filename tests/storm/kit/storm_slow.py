"""Clients with time on their hands: they say little, or take little of what they asked for."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

PACE: Final = 500_000  # bytes a second of one who is slow, and honest
PIECE: Final = 25_000
_CLOSED: Final = select.POLLRDHUP | select.POLLHUP | select.POLLERR


@dataclass(slots=True)
class Line:
    """A client that says so much and no more. sips: whether it takes a byte when it is looked at.

    held: the seconds after which the server had closed its end; None before that.
    """

    port: int
    start: bytes
    sips: bool = False
    held: float | None = None
    link: socket.socket = field(init=False)
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.link, self.begun = _dialed(self.port), time.monotonic()
        self.link.sendall(self.start)

    def look(self) -> None:
        """Note whether it was closed; else take a byte, if it is one who does."""
        if self.held is not None:
            return
        poll = select.poll()
        poll.register(self.link, select.POLLRDHUP)
        if any(what & _CLOSED for _, what in poll.poll(0)):
            self.held = time.monotonic() - self.begun
        elif self.sips:
            with suppress(BlockingIOError):
                self.link.recv(1, socket.MSG_DONTWAIT)


async def taken_slowly(port: int, start: bytes) -> int:
    """How many bytes of its answer a client gets that takes them slowly, and all of them."""
    loop, came = asyncio.get_running_loop(), 0
    with _dialed(port) as link:
        link.setblocking(False)
        await loop.sock_sendall(link, start)
        while some := await loop.sock_recv(link, PIECE):
            came += len(some)
            await asyncio.sleep(len(some) / PACE)
    return came


def _dialed(port: int) -> socket.socket:
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    link.connect(("127.0.0.1", port))
    return link
