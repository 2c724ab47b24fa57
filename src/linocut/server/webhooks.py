"""What a webhook says: the event, when, and the record as every other answer shows it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from linocut.jobs.terms import Delivery
from linocut.server.answers import answer
from linocut.server.context import Service


def webhook_body(service: Service, base: str) -> Callable[[Delivery], Awaitable[str | None]]:
    """The JSON of a delivery, or None where its record is gone. base: how links begin."""

    async def body(delivery: Delivery) -> str | None:
        record = await service.store.record(delivery.tenant, delivery.record_id)
        if record is None:
            return None
        said = {
            "type": f"record.{delivery.event}",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": {"aiRecord": await answer(service, record, base)},
        }
        return json.dumps(said, separators=(",", ":"))

    return body
