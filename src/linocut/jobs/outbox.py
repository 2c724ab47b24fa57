"""Webhooks leave here: signed, at least once, and tried again for days (Standard Webhooks).

The rows were written in the transaction that ended the record, so none is lost and none is sent
about something that did not happen. `webhook-id` stays the same through all tries.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import httpx2
import structlog
from standardwebhooks.webhooks import Webhook

from linocut.errors import Unavailable
from linocut.images.fetch import FetchPolicy, guarded_client
from linocut.jobs.deliveries import receiver_of
from linocut.jobs.store import Store
from linocut.jobs.terms import Delivery

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
AT_ONCE: Final = 64
TAKEN: Final = 16  # at a time; one receiver may get all of them
MANY: Final = 8  # a receiver with so many on their way is given no more: others would wait for it
GONE: Final = 410
Body = Callable[[Delivery], Awaitable[str | None]]


class Outbox:
    """Sends what is due. `body` gives a delivery's JSON, or None if its record is gone."""

    def __init__(
        self,
        store: Store,
        body: Body,
        *,
        secret: str,
        policy: FetchPolicy,
        poll: float = 1.0,
        seconds: float = 20.0,
    ) -> None:
        self.store, self.body, self.poll, self.seconds = store, body, poll, seconds
        self.policy, self._webhook = replace(policy, seconds=seconds), Webhook(secret)
        self._under_way: dict[asyncio.Task[None], str] = {}  # with its receiver
        self._room = asyncio.Event()  # one more has ended

    async def run(self) -> None:
        """Send for ever; a database that is away is waited for."""
        async with guarded_client(self.policy) as client, asyncio.TaskGroup() as tasks:
            while True:
                self._room.clear()
                try:
                    begun = await self._begin(client, tasks)
                except Unavailable as error:
                    log.warning("webhooks wait", reason=error.message)
                    begun = 0
                if not begun:
                    # Not wait_for: before Python 3.12 it loses a cancellation that comes with room.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(self.poll):
                            await self._room.wait()

    async def send_due(self, client: httpx2.AsyncClient) -> int:
        """How many were due; each was sent once."""
        async with asyncio.TaskGroup() as tasks:
            return await self._begin(client, tasks)

    async def _begin(self, client: httpx2.AsyncClient, tasks: asyncio.TaskGroup) -> int:
        """How many deliveries are under way now that were not before."""
        free = min(TAKEN, AT_ONCE - len(self._under_way))
        if not free:
            return 0
        counted = Counter(self._under_way.values())
        busy = [receiver for receiver, count in counted.items() if count >= MANY]
        due = await self.store.due_deliveries(free, busy)
        for delivery in due:
            task = tasks.create_task(self._kept(client, delivery))
            self._under_way[task] = receiver_of(delivery.url)
            task.add_done_callback(self._ended)
        return len(due)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._room.set()

    async def _kept(self, client: httpx2.AsyncClient, delivery: Delivery) -> None:
        """Sent; where the database is away, it is sent again."""
        try:
            await self._send(client, delivery)
        except Unavailable as error:
            log.warning("webhooks wait", reason=error.message)

    async def _send(self, client: httpx2.AsyncClient, delivery: Delivery) -> None:
        body = await self.body(delivery)
        if body is None:
            await self.store.delivered(delivery.id)
            return
        problem, is_final = await self._post(client, delivery, body)
        if not problem:
            await self.store.delivered(delivery.id)
            return
        tries_left = delivery.attempt <= len(RETRY_SECONDS)
        delay = RETRY_SECONDS[delivery.attempt - 1] if tries_left else 0
        give_up = is_final or not tries_left
        log.info("webhook failed", delivery=delivery.id, reason=problem, gives_up=give_up)
        await self.store.retry_delivery(delivery.id, delay, problem, give_up=give_up)

    async def _post(
        self, client: httpx2.AsyncClient, delivery: Delivery, body: str
    ) -> tuple[str, bool]:
        """(what went wrong, whether it will for ever); ("", False) if it arrived."""
        now = datetime.now(UTC)
        content = body.encode()
        headers = {
            "content-type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(delivery.id, now, body),
        }
        try:
            async with (
                asyncio.timeout(self.seconds),
                client.stream("POST", delivery.url, content=content, headers=headers) as answer,
            ):
                status = answer.status_code  # what else it says is not read
        except (TimeoutError, httpx2.TimeoutException):
            return f"no answer within {self.seconds:g} seconds", False
        except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:
            return f"{type(error).__name__}: {error}"[:300], False
        is_success = httpx2.codes.is_success(status)
        return "" if is_success else f"answered {status}", status == GONE
