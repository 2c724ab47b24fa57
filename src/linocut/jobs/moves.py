"""Moves a record from state to state, as the table of moves allows, and tells its story.

A worker's writes are guarded by `HELD`: its record, its fence, and PROCESSING. Whoever lost the
record finds no row, and has written nothing.

Statements that every picture needs are built once, when a module is read, and learn of their record
when they are executed: to build one takes longer than a database takes to run it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, bindparam, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningUpdate

from linocut.jobs import deliveries, usage
from linocut.jobs.clock import now
from linocut.jobs.record import ENDINGS, MOVES, State
from linocut.jobs.schema import events, records

Story = Sequence[tuple[str, Mapping[str, Any]]]
Where = ColumnElement[bool]
Change = ReturningUpdate[Any]  # of records; answers with those that it changed
Said = Mapping[str, Any]  # when a change is executed: which record, and columns to set beside

THIS: Final[Where] = records.c.id == bindparam("this")
HELD: Final[Where] = and_(
    THIS, records.c.fence == bindparam("under"), records.c.state == State.PROCESSING
)
_LONGER: Final = records.c.last_seq + bindparam("lines")
_LINES: Final = insert(events).values(at=now())
_PREVIEWS: Final = and_(events.c.record_id == bindparam("of"), events.c.kind == "preview")
_FORGET_PREVIEWS: Final = delete(events).where(_PREVIEWS)


def held(id: str, fence: int) -> Said:
    """What `HELD` asks for: the record, as long as it runs under this fence."""
    return {"this": id, "under": fence}


def moving(where: Where, to: State, **values: Any) -> Change:
    """Moves the record that is meant, if it may move there."""
    sources = [state for state, moves in MOVES.items() if to in moves]
    changed = update(records).where(where, records.c.state.in_(sources))
    return changed.values(state=to, **values).returning(*records.c)


def telling(where: Where) -> Change:
    """Makes room in the story of the record that is meant."""
    return update(records).where(where).values(last_seq=_LONGER).returning(*records.c)


def finishing(where: Where, to: State) -> Change:
    """Ends the record that is meant, if it is open, and makes room for the end of its story."""
    return moving(where, to, finished_at=now(), lease_until=None, last_seq=_LONGER)


async def move(connection: AsyncConnection, change: Change, said: Said) -> Row[Any] | None:
    """The record that is meant, as it is now; None if there was none to change."""
    return (await connection.execute(change, said)).one_or_none()


async def tell(
    connection: AsyncConnection, change: Change, said: Said, story: Story
) -> Row[Any] | None:
    """The record, with these events at the end of its story; None if there is no such record.

    Its row is locked by the change, which counts them: numbers have no gaps, whoever else tells.
    """
    row = await move(connection, change, {**said, "lines": len(story)})
    if row is None or not story:
        return row
    first = row.last_seq - len(story) + 1
    lines = [
        {"record_id": row.id, "seq": seq, "kind": kind, "data": dict(data)}
        for seq, (kind, data) in enumerate(story, first)
    ]
    await connection.execute(_LINES, lines)
    return row


async def finish(
    connection: AsyncConnection,
    change: Change,
    said: Said,
    data: Mapping[str, Any],
    *,
    to: State,
    story: Story = (),
) -> Row[Any] | None:
    """The record at its end: its last event told, its reservation settled, its webhook due.

    Its previews go: they were for who watched, and after a refusal nothing may be kept.

    said: `paid` of it are the worker milliseconds that its key pays.
    story: what is told before the last event, which says `data`.
    """
    row = await tell(connection, change, said, [*story, (ENDINGS[to], data)])
    if row is None:
        return None
    await connection.execute(_FORGET_PREVIEWS, {"of": row.id})
    used = said.get("paid", 0)
    await usage.settle(connection, row.key_id, row.day, reserved=row.estimate, used=used)
    await deliveries.enqueue(connection, row, ENDINGS[to])
    return row
