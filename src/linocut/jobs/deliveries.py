"""Webhooks to send: written in the transaction that has something to tell, so none is lost.

A delivery's id stays the same however often it is sent. Who takes one has a minute for it; after
that somebody else gets it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from linocut.jobs.clock import DAY, millis, now
from linocut.jobs.record import ENDINGS
from linocut.jobs.schema import deliveries
from linocut.jobs.terms import Delivery

TAKEN_SECONDS: Final = 60.0
KEPT_DAYS: Final = 30
MAX_ERROR: Final = 500


async def enqueue(connection: AsyncConnection, record: Row[Any], event: str) -> None:
    """A record's ending is due if its sender asked for it; no list means every ending."""
    asked = record.webhook_events or list(ENDINGS.values())
    if not record.webhook or event not in asked:
        return
    await connection.execute(
        insert(deliveries).values(
            id=str(uuid7()),
            record_id=record.id,
            tenant=record.tenant,
            event=event,
            url=record.webhook,
            state="DUE",
            attempt=0,
            run_at=now(),
            created_at=now(),
            last_error="",
        )
    )


def receiver_of(url: str) -> str:
    """The part of an address that says who listens there, up to the path."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.partition('/')[0]}/"


async def take(
    connection: AsyncConnection, limit: int, but: Collection[str] = ()
) -> list[Delivery]:
    """Those that are due, the longest waiting first, each counted as one more attempt.

    but: receivers, as `receiver_of` names them, that get nothing for now.
    """
    url = deliveries.c.url.concat("/")  # an address may end before its path
    due = await connection.scalars(
        select(deliveries.c.id)
        .where(deliveries.c.state == "DUE", deliveries.c.run_at <= now())
        .where(*(~url.startswith(receiver, autoescape=True) for receiver in but))
        .order_by(deliveries.c.run_at, deliveries.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    ids = list(due)
    if not ids:
        return []
    taken = await connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(ids))
        .values(run_at=now() + millis(TAKEN_SECONDS), attempt=deliveries.c.attempt + 1)
        .returning(*deliveries.c)
    )
    return sorted((_delivery(row) for row in taken), key=lambda one: one.id)


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        record_id=row.record_id,
        tenant=row.tenant,
        event=row.event,
        url=row.url,
        attempt=row.attempt,
    )


async def sent(connection: AsyncConnection, id: str) -> None:
    """It arrived."""
    await connection.execute(
        update(deliveries).where(deliveries.c.id == id).values(state="SENT", last_error="")
    )


async def failed(
    connection: AsyncConnection, id: str, *, delay: float, error: str, give_up: bool
) -> None:
    """It did not arrive: again after `delay` seconds, or never."""
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.id == id, deliveries.c.state == "DUE")
        .values(
            state="GIVEN_UP" if give_up else "DUE",
            run_at=now() + millis(delay),
            last_error=_storable(error),
        )
    )


def _storable(error: str) -> str:
    # The other side's words: anything may be in them.
    return error[:MAX_ERROR].replace("\0", "").encode(errors="replace").decode()


async def tidy(connection: AsyncConnection) -> None:
    """Forget those that ended a month ago."""
    old = deliveries.c.created_at < now() - KEPT_DAYS * DAY
    await connection.execute(delete(deliveries).where(deliveries.c.state != "DUE", old))
