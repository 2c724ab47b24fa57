"""A line to PostgreSQL that breaks as it is told: cut, dead, silent, or deaf to its answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.engine import make_url
from storm_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PIECE: Final = 65_536


class Line:
    """Listens in the place of a PostgreSQL at `url`; what is told holds for every connection.

    goes_on: cleared, bytes wait in both directions.   forgets: the database is heard, but what it
    answers is thrown away and the connection cut: work is done of which nobody learns.
    """

    def __init__(self, url: str) -> None:
        there = make_url(url)
        self._to = there.host, there.port
        self.port = free_port()
        self.url = there.set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.forgets = False
        self._ends: set[asyncio.StreamWriter] = set()
        self._listener: Any = None

    async def listen(self) -> None:
        """New connections are taken."""
        self._listener = await asyncio.start_server(self._joined, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """No connection is left, and none is taken."""
        self._listener.close()
        self.cut()
        await self._listener.wait_closed()

    def cut(self) -> None:
        """No connection is left; their transactions are rolled back, or were just committed."""
        for end in set(self._ends):
            end.transport.abort()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, there = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, there}
        tasks = [
            asyncio.create_task(self._carry(reader, there, answers=False)),
            asyncio.create_task(self._carry(back, writer, answers=True)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for end in (writer, there):
            self._ends.discard(end)
            end.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(PIECE):
                await self.goes_on.wait()
                if answers and self.forgets:
                    return
                writer.write(piece)
                await writer.drain()


@asynccontextmanager
async def line_to(url: str) -> AsyncIterator[Line]:
    """A line that listens, whole for now."""
    made = Line(url)
    await made.listen()
    try:
        yield made
    finally:
        await made.refuse()
