"""Webhooks on their way, to receivers on loopback."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select, update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from linocut.images.fetch import FetchPolicy, guarded_client
from linocut.jobs.outbox import RETRY_SECONDS, TAKEN, Outbox
from linocut.jobs.schema import deliveries
from linocut.jobs.store import Store
from linocut.jobs.terms import Delivery

SECRET = "whsec_bGlub2N1dC1saW5vY3V0LWxpbm9jdXQ="  # noqa: S105 - of this test alone
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


Play = Callable[[Callable[[Post], Awaitable[None]]], None]


@pytest.fixture
def play(migrated_file: Path, tmp_path: Path, jobs: Any) -> Play:
    """Runs a story with a store of its own."""
    path = tmp_path / "linocut.db"
    shutil.copy(migrated_file, path)

    async def told(story: Callable[[Post], Awaitable[None]]) -> None:
        store = await Store.open(f"sqlite:///{path}")
        try:
            async with asyncio.timeout(120):
                await story(Post(store, jobs))
        finally:
            await store.close()

    return lambda story: asyncio.run(told(story))


def test_a_webhook_arrives_and_its_signature_holds(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(200) as receiver:
            id = await post.owe(receiver.url)
            assert await post.send(post.outbox(receiver)) == 1
            ((headers, body),) = receiver.sent
            said = Webhook(SECRET).verify(body, headers)
            assert said == {"type": "record.canceled", "id": id, "word": "Grüße"}
            assert headers["content-type"] == "application/json"
            with pytest.raises(WebhookVerificationError):
                Webhook(SECRET).verify(body + b" ", headers)
            assert (await post.row()).state == "SENT"
            await post.make_due()
            assert await post.send(post.outbox(receiver)) == 0

    play(story)


def test_a_receiver_in_trouble_hears_it_again_under_the_same_id(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(500, 503, 204) as receiver:
            await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            for reason in ("answered 500", "answered 503"):
                assert await post.send(outbox) == 1
                row = await post.row()
                assert (row.state, row.last_error) == ("DUE", reason)
                assert await post.send(outbox) == 0  # not before the pause is over
                await post.make_due()
            assert await post.send(outbox) == 1
            assert (await post.row()).state == "SENT"
            assert {headers["webhook-id"] for headers, _ in receiver.sent} == {row.id}
            assert len(receiver.sent) == 3
            for headers, body in receiver.sent:
                Webhook(SECRET).verify(body, headers)

    play(story)


def test_the_pauses_grow_until_it_is_given_up(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(500) as receiver:
            await post.owe(receiver.url)
            outbox, pauses = post.outbox(receiver), []
            retry = post.store.retry_delivery

            async def noted(id: str, delay: float, error: str, *, give_up: bool) -> None:
                pauses.append((delay, give_up))
                await retry(id, delay, error, give_up=give_up)

            post.store.retry_delivery = noted  # type: ignore[method-assign]
            while await post.send(outbox):
                await post.make_due()
            assert pauses == [*((pause, False) for pause in RETRY_SECONDS), (0, True)]
            assert list(RETRY_SECONDS) == sorted(set(RETRY_SECONDS))
            assert (await post.row()).state == "GIVEN_UP"

    play(story)


def test_the_pause_is_kept_by_the_database(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(500) as receiver:
            await post.owe(receiver.url)
            created = (await post.row()).created_at
            await post.jobs.change(post.store, update(deliveries).values(attempt=8))
            await post.send(post.outbox(receiver))
            assert (await post.row()).run_at >= created + RETRY_SECONDS[8] * 1000

    play(story)


def test_a_receiver_that_is_gone_for_good_hears_no_more(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(410) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            row = await post.row()
            assert (row.state, row.last_error) == ("GIVEN_UP", "answered 410")

    play(story)


def test_silence_is_tried_again_later(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(SILENT, 200) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver, seconds=0.3))
            row = await post.row()
            assert (row.state, row.last_error) == ("DUE", "no answer within 0.3 seconds")
            await post.make_due()
            await post.send(post.outbox(receiver))
            assert (await post.row()).state == "SENT"

    play(story)


def test_who_does_not_listen_is_tried_again_later(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            pass
        await post.owe(receiver.url)
        await post.send(post.outbox(receiver))
        row = await post.row()
        assert (row.state, "Connect" in row.last_error) == ("DUE", True)

    play(story)


def test_what_a_receiver_says_besides_its_status_is_not_read(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(ENDLESS) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            assert (await post.row()).state == "SENT"

    play(story)


def test_a_private_address_gets_no_connection(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1", "user@127.0.0.1"):
                await post.owe(f"http://{host}:{receiver.port}/hook")
            await post.send(post.outbox())
            assert receiver.connections == 0
            rows = await post.rows()
            assert {row.state for row in rows} == {"DUE"}
            assert all(row.last_error.startswith("AddressRefused") for row in rows)

    play(story)


def test_a_redirect_is_not_followed(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving() as private, receiving(302, location=private.url) as receiver:
            await post.owe(receiver.url)
            await post.send(post.outbox(receiver))
            assert (len(receiver.sent), private.connections) == (1, 0)
            assert (await post.row()).last_error == "answered 302"

    play(story)


@pytest.mark.parametrize("url", ["http://[::1", "http://", "ftp://a.test/", "http://\ud800.test"])
def test_an_address_that_is_none_harms_nobody_else(play: Play, url: str) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            (good,) = await post.store.due_deliveries(1)
            await post.make_due()
            bad = Delivery(
                id="msg", record_id="r", tenant="ann", event="canceled", url=url, attempt=1
            )
            given_up: list[str] = []

            async def both(*_: object) -> list[Delivery]:
                return [bad, good]

            async def body(_: Delivery) -> str:
                return "{}"

            async def noted(id: str, *_: object, **__: object) -> None:
                given_up.append(id)

            post.store.due_deliveries = both  # type: ignore[method-assign]
            post.store.retry_delivery = noted  # type: ignore[method-assign]
            outbox.body = body
            assert await post.send(outbox) == 2
            assert (given_up, len(receiver.sent)) == (["msg"], 1)

    play(story)


def test_a_record_that_was_deleted_is_not_spoken_of(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            id = await post.owe(receiver.url)
            outbox = post.outbox(receiver)
            await post.store.delete("ann", id)
            await post.send(outbox)
            assert receiver.connections == 0
            await post.make_due()
            assert await post.send(outbox) == 0

    play(story)


def test_a_receiver_that_hangs_keeps_nobody_else_waiting(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving(SILENT) as silent, receiving() as quick:
            for url in [silent.url] * 2 * TAKEN + [quick.url]:
                await post.owe(url)
            running = asyncio.create_task(post.outbox(silent, quick, seconds=100).run())

            async def has_arrived() -> bool:
                return bool(quick.sent)

            await post.until(has_arrived)
            assert silent.connections <= TAKEN
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_a_receiver_with_much_to_hear_hears_all_of_it(play: Play) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            for _ in range(3 * TAKEN):
                await post.owe(receiver.url)
            running = asyncio.create_task(post.outbox(receiver, poll=1000).run())

            async def is_sent() -> bool:
                return {row.state for row in await post.rows()} == {"SENT"}

            await post.until(is_sent)
            assert len({headers["webhook-id"] for headers, _ in receiver.sent}) == 3 * TAKEN
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)


def test_the_outbox_sends_by_itself_and_survives_its_database(play: Play, jobs: Any) -> None:
    async def story(post: Post) -> None:
        async with receiving() as receiver:
            await post.owe(receiver.url)
            due = jobs.fault(post.store, "due_deliveries", 2)
            done = jobs.fault(post.store, "delivered", 1)
            running = asyncio.create_task(post.outbox(receiver).run())

            async def has_forgotten() -> bool:
                return done.calls == 1

            async def is_sent() -> bool:
                return bool((await post.row()).state == "SENT")

            await post.until(has_forgotten)
            assert due.left == 0
            await post.make_due()  # nobody could note that it arrived: it is sent again
            await post.until(is_sent)
            ids = {headers["webhook-id"] for headers, _ in receiver.sent}
            assert (len(ids), len(receiver.sent), running.done()) == (1, 2, False)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    play(story)
