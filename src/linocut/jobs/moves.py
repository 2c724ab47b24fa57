"""Moves a record from state to state, as the table of moves allows, and tells its story.

A worker's writes are guarded by `held`: its record, its fence, and PROCESSING. Whoever lost the
record finds no row, and has written nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs import deliveries, usage
from linocut.jobs.clock import millis, now
from linocut.jobs.record import ENDINGS, MOVES, State
from linocut.jobs.schema import events, records

Story = Sequence[tuple[str, Mapping[str, Any]]]
Where = ColumnElement[bool]


def held(id: str, fence: int) -> Where:
    """The record, as long as it runs under this fence."""
    return and_(records.c.id == id, records.c.fence == fence, records.c.state == State.PROCESSING)


async def move(
    connection: AsyncConnection, where: Where, to: State, **values: Any
) -> Row[Any] | None:
    """The record that is meant, in its new state; None if there is none that may move there."""
    sources = [state for state, moves in MOVES.items() if to in moves]
    changed = await connection.execute(
        update(records)
        .where(where, records.c.state.in_(sources))
        .values(state=to, **values)
        .returning(*records.c)
    )
    return changed.one_or_none()


async def tell(connection: AsyncConnection, where: Where, story: Story) -> Row[Any] | None:
    """The record, with these events at the end of its story; None if there is no such record.

    Its row is locked by the counting, so numbers have no gaps, whoever else tells.
    """
    changed = await connection.execute(
        update(records)
        .where(where)
        .values(last_seq=records.c.last_seq + len(story))
        .returning(*records.c)
    )
    row = changed.one_or_none()
    if row is None or not story:
        return row
    first = row.last_seq - len(story) + 1
    lines = [
        {"record_id": row.id, "seq": seq, "kind": kind, "data": dict(data)}
        for seq, (kind, data) in enumerate(story, first)
    ]
    await connection.execute(insert(events).values(at=now()), lines)
    return row


async def finish(
    connection: AsyncConnection,
    where: Where,
    to: State,
    data: Mapping[str, Any],
    *,
    story: Story = (),
    **values: Any,
) -> Row[Any] | None:
    """The record at its end: its last event told, its reservation settled, its webhook due.

    Its previews go: they were for who watched, and after a refusal nothing may be kept.

    story: what is told before the last event.   `paid`, of the values: worker seconds that its
    key pays.
    """
    if "paid" in values:
        values["paid"] = millis(values["paid"])
    row = await move(connection, where, to, finished_at=now(), lease_until=None, **values)
    if row is None:
        return None
    await tell(connection, records.c.id == row.id, [*story, (ENDINGS[to], data)])
    previews = and_(events.c.record_id == row.id, events.c.kind == "preview")
    await connection.execute(delete(events).where(previews))
    used = values.get("paid", 0)
    await usage.settle(connection, row.key_id, row.day, reserved=row.estimate, used=used)
    await deliveries.enqueue(connection, row, ENDINGS[to])
    return row
