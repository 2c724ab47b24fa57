"""What a webhook says: the event, when, and the record as every other answer shows it.

And to whom: an address that no delivery could ever reach is told when it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from linocut.errors import InvalidRequest
from linocut.images.fetch import AddressRefused, FetchPolicy, check_address
from linocut.jobs.terms import Delivery
from linocut.server.answers import answer
from linocut.server.context import Service


def check_receiver(address: str, policy: FetchPolicy) -> None:
    """Nothing, or InvalidRequest: whether a delivery may be tried; "" is no receiver."""
    try:
        if address:
            check_address(address, policy)
    except AddressRefused as error:
        raise InvalidRequest(
            f"webhook: no delivery would be sent: {error}",
            field="#/webhook",
            hint="use a public address on port 80 or 443; the operator may name others in "
            "LINOCUT_FETCH_ALLOW",
        ) from error


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
