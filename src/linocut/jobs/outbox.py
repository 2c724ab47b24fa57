"""Webhooks leave here: signed, at least once, and tried again for days (Standard Webhooks).

The rows were written in the transaction that ended the record, so none is lost and none is sent
about something that did not happen. `webhook-id` stays the same through all tries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import httpx2
import structlog
from standardwebhooks.webhooks import Webhook

from linocut.errors import Unavailable
from linocut.images.fetch import FetchPolicy, guarded_client
from linocut.jobs.store import Store
from linocut.jobs.terms import Delivery

log = structlog.get_logger(__name__)

RETRY_SECONDS: Final = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
AT_ONCE: Final = 16
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

    async def run(self) -> None:
        """Send for ever; a database that is away is waited for."""
        async with guarded_client(self.policy) as client:
            while True:
                try:
                    sent = await self.send_due(client)
                except Unavailable as error:
                    log.warning("webhooks wait", reason=error.message)
                    sent = 0
                if not sent:
                    await asyncio.sleep(self.poll)

    async def send_due(self, client: httpx2.AsyncClient) -> int:
        """How many were due; each was sent once."""
        due = await self.store.due_deliveries(AT_ONCE)
        await asyncio.gather(*(self._send(client, delivery) for delivery in due))
        return len(due)

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
