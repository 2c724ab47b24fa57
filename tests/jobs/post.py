"""Receivers of webhooks on loopback, and what is owed to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, select, update

from linocut.images.fetch import FetchPolicy, guarded_client
from linocut.jobs.outbox import Outbox
from linocut.jobs.schema import deliveries
from linocut.jobs.store import Store
from linocut.jobs.terms import Delivery

SECRET = "whsec_bGlub2N1dC1saW5vY3V0LWxpbm9jdXQ="  # noqa: S105 - of these tests alone
ENDLESS = -200  # a status whose body never ends
SILENT = 0


@dataclass
class Receiver:
    """A server of somebody: what it was sent, and what it answers, in turn; the last for ever."""

    answers: tuple[int, ...]
    location: str = ""
    port: int = 0
    connections: int = 0
    sent: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the sender has left
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        status = self.answers[min(len(self.sent), len(self.answers) - 1)]
        self.sent.append((headers, body))
        if status == SILENT:
            await reader.read()
            return
        more = f"Location: {self.location}\r\n" if self.location else ""
        length = "" if status < 0 else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {abs(status)} Said\r\n{more}{length}\r\n".encode())
        while status < 0:
            writer.write(b"x" * 1000)
            await writer.drain()
        await writer.drain()


@asynccontextmanager
async def receiving(*answers: int, location: str = "") -> AsyncIterator[Receiver]:
    receiver = Receiver(answers or (200,), location)
    listening = await asyncio.start_server(receiver.talk, "127.0.0.1", 0)
    receiver.port = listening.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        listening.close()


@dataclass
class Post:
    """A store, and what is due in it."""

    store: Store
    jobs: Any
    body_of: Callable[[Delivery], Awaitable[str | None]] | None = None

    async def owe(self, url: str) -> str:
        """The id of a record that is over, and whose sender wants to hear of it."""
        sent = await self.store.submit(self.jobs.submission(webhook=url), self.jobs.wide)
        await self.store.cancel("ann", sent.record.id)
        return str(sent.record.id)

    async def body(self, delivery: Delivery) -> str | None:
        record = await self.store.record(delivery.tenant, delivery.record_id)
        said = {"type": f"record.{delivery.event}", "id": delivery.record_id, "word": "Grüße"}
        return json.dumps(said, ensure_ascii=False) if record else None

    def outbox(self, *allowed: Receiver, **said: float) -> Outbox:
        hosts = frozenset(f"127.0.0.1:{one.port}" for one in allowed)
        policy = FetchPolicy(allowed_hosts=hosts)
        return Outbox(
            self.store, self.body, secret=SECRET, policy=policy, **({"poll": 0.02} | said)
        )

    async def send(self, outbox: Outbox) -> int:
        async with guarded_client(outbox.policy) as client:
            return await outbox.send_due(client)

    async def rows(self) -> list[Row[Any]]:
        return list(
            await self.jobs.select_all(self.store, select(deliveries).order_by(deliveries.c.id))
        )

    async def row(self) -> Row[Any]:
        (row,) = await self.rows()
        return row

    async def make_due(self) -> None:
        """As if the pause were over."""
        await self.jobs.change(self.store, update(deliveries).values(run_at=0))

    async def until(self, is_so: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(60):
            while not await is_so():  # noqa: ASYNC110 - there is no event for everything
                await asyncio.sleep(0.01)
