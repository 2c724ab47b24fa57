"""The first transaction: a request is accepted whole, or not at all.

Submitting is done by one at a time (`turns`), so counting places and seconds is exact, and the
same Idempotency-Key sent fifty times at once finds its record forty-nine times.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils.compat import uuid7

from linocut.errors import Forbidden, IdempotencyMismatch, QueueFull, QuotaExceeded
from linocut.jobs import queue, usage
from linocut.jobs.clock import DAY, millis, now, seconds
from linocut.jobs.record import Record, State, Submission
from linocut.jobs.rows import fold, plan_of, record_of
from linocut.jobs.schema import events, files, idempotency, records
from linocut.jobs.terms import Limits, Offer, Submitted

KEY_HOURS: Final = 24
LEAST_WAIT: Final = 1.0  # seconds until a full queue is worth asking again
_KEPT: Final = KEY_HOURS * 3_600_000
_INSERT: Final = insert(records).returning(*records.c)
_FIRST_LINE: Final = insert(events)


async def submit(
    connection: AsyncConnection,
    submission: Submission,
    limits: Limits,
    offer: Offer | None = None,
) -> tuple[Submitted, Record | None]:
    """A new record, or the one that the Idempotency-Key stands for; and what was claimed.

    offer: whom to claim for, where this brings a record that has to be drawn.
    """
    await queue.take_turn(connection, "submit")
    known = await _known(connection, submission)
    if known:
        place = await queue.place(connection, known.id)
        return Submitted(record=known, replayed=True, place=place), None
    waiting = await queue.waiting(connection)
    _check_queue(waiting, submission, limits)
    time, counted = await usage.today(connection, submission.key_id)
    submission = replace(submission, estimate=_reserved(submission, limits, counted, time))
    row = await _insert(connection, submission, time)
    place = queue.place_of_next(waiting, submission.key_id)
    said = {"record_id": row.id, "seq": 1, "kind": "queued", "data": {"place": place}, "at": time}
    await connection.execute(_FIRST_LINE, said)
    # Before the usage: a run that ends locks its record first, and then what its key has used.
    claimed = await queue.claim(connection, offer.lane, offer.lease) if offer else None
    await usage.reserve(connection, submission.key_id, row.day, row.estimate)
    await _remember_key(connection, submission, row.id)
    await _own_references(connection, submission, row.id)
    usual = queue.usual_seconds(waiting, submission.estimate)
    new = Submitted(record=record_of(row), replayed=False, place=place, usual=usual)
    return new, claimed


async def replay(
    connection: AsyncConnection, tenant: str, key: str, fingerprint: str
) -> Record | None:
    """The record that a key stands for; IdempotencyMismatch if it was sent with another request."""
    row = await _remembered(connection, tenant, key)
    return _same(row, fingerprint) if row and row.is_fresh else None


async def _known(connection: AsyncConnection, submission: Submission) -> Record | None:
    """The same for a request that is being submitted; a key that has had its time is dropped."""
    tenant, key = submission.tenant, submission.idempotency_key
    row = await _remembered(connection, tenant, key) if key else None
    if row is None:
        return None
    if row.is_fresh:
        return _same(row, submission.fingerprint)
    await connection.execute(delete(idempotency).where(_is_key(tenant, key)))
    return None


def _same(row: Row[Any], fingerprint: str) -> Record:
    if row.fingerprint != fingerprint:
        raise IdempotencyMismatch(
            "this Idempotency-Key was sent before with another request",
            hint=f"use a new key for a new request; keys are remembered for {KEY_HOURS} hours",
        )
    return record_of(row)


async def _remembered(connection: AsyncConnection, tenant: str, key: str) -> Row[Any] | None:
    is_fresh = (idempotency.c.created_at > now() - _KEPT).label("is_fresh")
    found = await connection.execute(
        select(records, idempotency.c.fingerprint, is_fresh)
        .join(idempotency, idempotency.c.record_id == records.c.id)
        .where(_is_key(tenant, key))
    )
    return found.one_or_none()


def _is_key(tenant: str, key: str) -> ColumnElement[bool]:
    return and_(idempotency.c.tenant == tenant, idempotency.c.key == key)


def _check_queue(waiting: queue.Waiting, submission: Submission, limits: Limits) -> None:
    own = waiting.get(submission.key_id)
    everybody = sum(line.count for line in waiting.values())
    turn = queue.usual_seconds(waiting) / limits.workers
    if own and own.count >= limits.share:  # its first one has to begin, and keys take turns
        raise _full(
            f"{own.count} requests of this key are waiting; at most {limits.share} may",
            turn * queue.place_of_first(waiting, submission.key_id),
        )
    if everybody >= limits.queue or limits.share < 1:
        raise _full(f"{everybody} requests are waiting; at most {limits.queue} may", turn)


def _full(message: str, wait: float) -> QueueFull:
    wait = max(LEAST_WAIT, wait)
    return QueueFull(message, retry_after=wait, hint=f"try again in about {math.ceil(wait)} s")


def _reserved(submission: Submission, limits: Limits, counted: int, time: int) -> float:
    """Seconds to reserve of the quota, if they are left; Forbidden if they never are."""
    estimate, quota = submission.estimate, limits.quota_seconds
    if quota is None:
        return estimate
    left = quota - seconds(counted)
    if submission.is_guess and left > 0:
        return min(estimate, left)
    if estimate <= left:
        return estimate
    if estimate > quota and not submission.is_guess:
        raise Forbidden(
            f"this needs about {estimate:.1f} worker seconds; this key has {quota:g} a day",
            hint="ask for fewer steps or a smaller picture, or the operator for a higher quota",
        )
    raise QuotaExceeded(
        f"this needs about {estimate:.1f} worker seconds; "
        f"{max(left, 0):.1f} of {quota:g} are left today",
        retry_after=seconds(DAY - time % DAY),
        hint="the quota begins anew at midnight UTC",
    )


async def _insert(connection: AsyncConnection, submission: Submission, time: int) -> Row[Any]:
    row = {
        "id": str(uuid7()),
        "tenant": submission.tenant,
        "key_id": submission.key_id,
        "feature": submission.feature,
        "model": submission.model,
        "state": State.QUEUED,
        "body": submission.body,
        "plan": plan_of(submission.order),
        "prompt": fold(submission.order.request.prompt),
        "webhook": submission.webhook,
        "webhook_events": submission.webhook_events,
        "estimate": millis(submission.estimate),
        "day": time // DAY,
        "worker": "",
        "attempt": 0,
        "fence": 0,
        "last_seq": 1,
        "starred": False,
        "run_at": time,
        "created_at": time,
        "result_keys": (),
        "result": {},
    }
    return (await connection.execute(_INSERT, row)).one()


async def _remember_key(connection: AsyncConnection, submission: Submission, id: str) -> None:
    if not submission.idempotency_key:
        return
    await connection.execute(
        insert(idempotency).values(
            tenant=submission.tenant,
            key=submission.idempotency_key,
            fingerprint=submission.fingerprint,
            record_id=id,
            created_at=now(),
        )
    )


async def _own_references(connection: AsyncConnection, submission: Submission, id: str) -> None:
    keys = submission.order.reference_keys
    if not keys:
        return
    theirs = and_(files.c.tenant == submission.tenant, files.c.key.in_(keys))
    await connection.execute(update(files).where(theirs).values(used_at=now()))
    fetched = and_(theirs, files.c.kind == "reference", files.c.record_id == "")
    await connection.execute(update(files).where(fetched).values(record_id=id))


async def tidy(connection: AsyncConnection) -> None:
    """Forget the keys that have had their time."""
    old = idempotency.c.created_at <= now() - _KEPT
    await connection.execute(delete(idempotency).where(old))
