"""The other end of a line to a store: it answers, says nothing, or drips bytes without an end.

A `Peer` listens on loopback and accepts always. Its answer is one line: whoever reads to that
line's end waits for ever on a peer that is silent, mute or dripping, until it answers again.
`FarStore` speaks to it as to a bucket; `behind` puts a disk behind it, with threads that hang in
the system as those of a mount do whose server is away.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

SILENCES: Final = ("mute", "drips")
DRIP_SECONDS: Final = 0.02
_LINE: Final = b"\n"


@dataclass
class Peer:
    """Who is asked. silence: "mute" or "drips".   answers: may change while some wait."""

    door: socket.socket
    silence: str
    answers: bool = False
    asked: int = 0
    met: threading.Event = field(default_factory=threading.Event)
    _gone: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.door.getsockname()
        return str(host), int(port)

    def leave(self) -> None:
        """Every line to it ends, and no other begins."""
        self._gone.set()
        with suppress(OSError):
            self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()

    def listen(self) -> None:
        """Accept, until it leaves."""
        with suppress(OSError):
            while True:
                line, _ = self.door.accept()
                threading.Thread(target=self._speak, args=(line,), daemon=True).start()

    def _speak(self, line: socket.socket) -> None:
        self.asked += 1
        self.met.set()
        with closing(line), suppress(OSError):
            while not self.answers:
                if self.silence == "drips":
                    line.sendall(b".")
                if self._gone.wait(DRIP_SECONDS):
                    return
            line.sendall(_LINE)
            while line.recv(1 << 20):  # to close over what was not read would take the answer back
                pass


@contextmanager
def a_peer(silence: str, *, answers: bool = False) -> Iterator[Peer]:
    """A peer that listens as long as this lasts."""
    peer = Peer(socket.create_server(("127.0.0.1", 0), backlog=512), silence, answers)
    threading.Thread(target=peer.listen, daemon=True).start()
    try:
        yield peer
    finally:
        peer.leave()


def ask(address: tuple[str, int]) -> None:
    """Nothing, once the peer has answered; the thread waits in the system meanwhile."""
    with socket.create_connection(address) as line:
        while (said := line.recv(100)) and _LINE not in said:
            pass


@contextmanager
def behind(address: tuple[str, int]) -> Iterator[None]:
    """Whatever this process flushes to a disk waits for the peer first, as long as this lasts."""
    flush: Callable[[int], None] = os.fsync

    def far(descriptor: int) -> None:
        ask(address)
        flush(descriptor)

    os.fsync = far
    try:
        yield
    finally:
        os.fsync = flush


class FarStore:
    """A store behind a peer, without any patience of its own; it keeps what was put in memory."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.kept: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes) -> None:
        await self._asked(data)
        self.kept[key] = data

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        await self._asked()
        return self.kept[key][start:end]

    async def open_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        yield await self.read(key, start, end)

    async def size(self, key: str) -> int:
        await self._asked()
        return len(self.kept[key])

    async def delete(self, key: str) -> bool:
        await self._asked()
        return self.kept.pop(key, None) is not None

    async def keys(self, older_than: float) -> list[str]:
        await self._asked()
        return [] if older_than > 0 else list(self.kept)

    async def sweep(self, older_than: float) -> int:
        del older_than
        await self._asked()
        return 0

    async def ping(self) -> None:
        await self._asked()

    async def _asked(self, data: bytes = b"") -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(data)
            await writer.drain()
            await reader.readuntil(_LINE)
        finally:
            writer.transport.abort()  # a peer that takes nothing would keep it open
