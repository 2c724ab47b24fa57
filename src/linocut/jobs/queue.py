"""Whose turn it is, who holds what, and what happens to a run that its worker gave up.

Keys take turns: the one with the fewest running, then the one that was served longest ago. Within
a key the oldest goes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, and_, bindparam, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs.clock import millis, now, seconds
from linocut.jobs.moves import (
    HELD,
    THIS,
    Said,
    Story,
    Where,
    finish,
    finishing,
    held,
    move,
    moving,
    tell,
    telling,
)
from linocut.jobs.record import Record, State
from linocut.jobs.rows import record_of
from linocut.jobs.schema import records, turns
from linocut.jobs.terms import Backlog

_BATCH: Final = 100
_LEASE: Final = now() + bindparam("lease_ms")
_CLAIM: Final = moving(
    THIS,
    State.PROCESSING,
    worker=bindparam("by"),
    attempt=records.c.attempt + 1,
    fence=records.c.fence + 1,
    started_at=now(),
    lease_until=_LEASE,
)
_BEAT: Final = update(records).where(HELD).values(lease_until=_LEASE)
_APPEND: Final = telling(HELD)
_TELL: Final = telling(THIS)
_WAITING: Final = (
    select(
        records.c.key_id,
        func.count().label("waiting"),
        func.min(records.c.id).label("id"),
        func.sum(records.c.estimate).label("estimate"),
    )
    .where(records.c.state == State.QUEUED)
    .group_by(records.c.key_id)
)
_LOST: Final = {
    "code": "worker_failed",
    "message": "the worker that had this was not heard of any more",
    "hint": "",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A key's waiting records: how many, the id of the oldest, how long all were said to take."""

    count: int
    oldest: str
    seconds: float


Waiting = Mapping[str, Line]


async def take_turn(connection: AsyncConnection, name: str) -> None:
    """Wait until nobody else does this; held until the transaction ends."""
    if connection.dialect.name == "sqlite":
        return  # its writers wait in line as it is
    await connection.execute(select(turns.c.name).where(turns.c.name == name).with_for_update())


async def waiting(connection: AsyncConnection) -> Waiting:
    """The waiting line of each key."""
    rows = await connection.execute(_WAITING)
    return {row.key_id: Line(row.waiting, row.id, seconds(int(row.estimate))) for row in rows}


def usual_seconds(lines: Waiting, *more: float) -> float:
    """How long one of those that wait was said to take, on average; `more` records count too."""
    total = sum(line.seconds for line in lines.values()) + sum(more)
    return total / max(1, sum(line.count for line in lines.values()) + len(more))


def place_of_next(lines: Waiting, key_id: str) -> int:
    """The place that one more record of a key will have."""
    own = lines.get(key_id)
    return _place(lines, key_id, own.count + 1 if own else 1, own.oldest if own else "~")


def place_of_first(lines: Waiting, key_id: str) -> int:
    """The place of a key's oldest waiting record: 1 for the next; 0 if none waits."""
    own = lines.get(key_id)
    return _place(lines, key_id, 1, own.oldest) if own else 0


def _place(lines: Waiting, key_id: str, rank: int, oldest: str) -> int:
    """The place of a key's `rank`th record, when keys take turns and nothing runs."""
    others = (line for key, line in lines.items() if key != key_id)
    return rank + sum(min(line.count, rank - (line.oldest > oldest)) for line in others)


async def place(connection: AsyncConnection, id: str) -> int:
    """1 for the next; 0 for a record that does not wait."""
    found = await connection.execute(
        select(records.c.key_id).where(records.c.id == id, records.c.state == State.QUEUED)
    )
    key_id = found.scalar_one_or_none()
    if key_id is None:
        return 0
    ahead = and_(records.c.state == State.QUEUED, records.c.key_id == key_id, records.c.id <= id)
    rank = (await connection.execute(select(func.count()).where(ahead))).scalar_one()
    lines = await waiting(connection)
    if key_id not in lines:  # claimed or canceled between two looks: PostgreSQL shows that
        return 0
    return _place(lines, key_id, rank, lines[key_id].oldest)


async def backlog(connection: AsyncConnection) -> Backlog:
    """How much is waiting and running."""
    is_queued = case((records.c.state == State.QUEUED, 1), else_=0)
    found = await connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(is_queued), 0),
            func.coalesce(func.sum(records.c.estimate), 0),
        ).where(records.c.state.in_((State.QUEUED, State.PROCESSING)))
    )
    count, queued, estimate = found.one()
    return Backlog(
        queued=int(queued), processing=count - int(queued), seconds=seconds(int(estimate))
    )


def _turn() -> Select[tuple[str]]:
    """The id of the record whose turn it is."""
    first = (
        select(records.c.key_id, func.min(records.c.id).label("id"))
        .where(records.c.state == State.QUEUED, records.c.run_at <= now())
        .group_by(records.c.key_id)
        .subquery()
    )
    running = select(func.count()).where(
        records.c.key_id == first.c.key_id, records.c.state == State.PROCESSING
    )
    served = select(func.coalesce(func.max(records.c.started_at), 0)).where(
        records.c.key_id == first.c.key_id
    )
    order = (running.scalar_subquery(), served.scalar_subquery(), first.c.id)
    return select(first.c.id).order_by(*order).limit(1)


_TURN: Final = _turn()


async def claim(connection: AsyncConnection, worker: str, lease: float) -> Record | None:
    """The record whose turn it is, PROCESSING under its next fence."""
    await take_turn(connection, "claim")
    while (id := await connection.scalar(_TURN)) is not None:
        said = {"this": id, "by": worker, "lease_ms": millis(lease)}
        row = await move(connection, _CLAIM, said)
        if row is not None:  # it was not canceled in this very moment
            return record_of(row)
    return None


async def heartbeat(connection: AsyncConnection, id: str, fence: int, lease: float) -> bool:
    """Whether the record is still held, now for `lease` seconds more."""
    said = {**held(id, fence), "lease_ms": millis(lease)}
    return (await connection.execute(_BEAT, said)).rowcount == 1


async def append(connection: AsyncConnection, id: str, fence: int, story: Story) -> bool:
    """Whether the record is still held; these events then stand in its story."""
    return await tell(connection, _APPEND, held(id, fence), story) is not None


async def release(
    connection: AsyncConnection,
    run: Said,
    where: Where = HELD,
    *,
    counted: bool,
    delay: float,
    error: Mapping[str, Any],
    max_attempts: int,
) -> Row[Any] | None:
    """The record, waiting again or at its end; None if `where` holds for no such `run`."""
    if counted:
        used_up = finishing(and_(where, records.c.attempt >= max_attempts), State.FAILURE)
        said = {**run, "error": dict(error), "paid": 0}
        row = await finish(connection, used_up, said, error, to=State.FAILURE)
        if row is not None:
            return row
    back = moving(
        where,
        State.QUEUED,
        worker="",
        attempt=records.c.attempt - (0 if counted else 1),
        run_at=now() + millis(delay),
        lease_until=None,
    )
    row = await move(connection, back, run)
    if row is not None:
        data = {"place": await place(connection, row.id), "reason": str(error.get("code", ""))}
        await tell(connection, _TELL, {"this": row.id}, [("queued", data)])
    return row


async def lost(connection: AsyncConnection) -> list[tuple[str, int]]:
    """Records whose lease ran out, with their fences."""
    rows = await connection.execute(
        select(records.c.id, records.c.fence)
        .where(records.c.state == State.PROCESSING, records.c.lease_until < now())
        .order_by(records.c.lease_until)
        .limit(_BATCH)
    )
    return [(row.id, row.fence) for row in rows]


async def give_up(connection: AsyncConnection, id: str, fence: int, max_attempts: int) -> bool:
    """Whether the record was released; not if its lease was renewed after all."""
    late = and_(HELD, records.c.lease_until < now())
    row = await release(
        connection, held(id, fence), late,
        counted=True, delay=0, error=_LOST, max_attempts=max_attempts,
    )  # fmt: skip
    return row is not None
