"""Records as their owners see them: one, a page of them, their stories; star and delete.

The tenant is part of every question, so that a foreign record is as absent as one that never was.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.errors import Conflict, InvalidRequest
from linocut.jobs.clock import millis, now
from linocut.jobs.record import FINAL, Record, RecordEvent
from linocut.jobs.rows import event_of, fold, record_of
from linocut.jobs.schema import events, files, records
from linocut.jobs.terms import Expired

MAX_SEARCH: Final = 1000
_RECORD: Final = select(records).where(
    records.c.tenant == bindparam("whose"), records.c.id == bindparam("this")
)


def _owned(tenant: str, id: str) -> ColumnElement[bool]:
    return and_(records.c.tenant == tenant, records.c.id == id)


async def record(connection: AsyncConnection, tenant: str, id: str) -> Record | None:
    """A record of this tenant."""
    found = (await connection.execute(_RECORD, {"whose": tenant, "this": id})).one_or_none()
    return record_of(found) if found else None


async def page(
    connection: AsyncConnection,
    tenant: str,
    *,
    limit: int,
    before: str | None,
    search: str,
    starred: bool | None,
) -> list[Record]:
    """Records of this tenant, the newest first."""
    chosen = select(records).where(records.c.tenant == tenant)
    if before is not None:
        chosen = chosen.where(records.c.id < before)
    if starred is not None:
        chosen = chosen.where(records.c.starred == starred)
    if search:
        chosen = chosen.where(records.c.prompt.like(_pattern(search), escape="\\"))
    rows = await connection.execute(chosen.order_by(records.c.id.desc()).limit(limit))
    return [record_of(row) for row in rows]


def _pattern(search: str) -> str:
    wanted = fold(search)
    if len(wanted) > MAX_SEARCH:
        raise InvalidRequest(
            f"the search has {len(wanted):,} characters; at most {MAX_SEARCH:,} are allowed",
            field="search",
        )
    for special in "\\%_":
        wanted = wanted.replace(special, "\\" + special)
    return f"%{wanted}%"


async def story(connection: AsyncConnection, id: str, after: int) -> list[RecordEvent]:
    """A record's events after the number `after`."""
    rows = await connection.execute(
        select(events).where(events.c.record_id == id, events.c.seq > after).order_by(events.c.seq)
    )
    return [event_of(row) for row in rows]


async def star(
    connection: AsyncConnection, tenant: str, id: str, *, starred: bool
) -> Record | None:
    """The record, starred or not."""
    changed = await connection.execute(
        update(records).where(_owned(tenant, id)).values(starred=starred).returning(*records.c)
    )
    row = changed.one_or_none()
    return record_of(row) if row else None


async def remove(connection: AsyncConnection, tenant: str, id: str) -> tuple[str, ...] | None:
    """The keys of the files that went with the record; None if it is not theirs."""
    gone = await connection.execute(
        delete(records)
        .where(_owned(tenant, id), records.c.state.in_(FINAL))
        .returning(records.c.id)
    )
    if gone.first() is None:
        if (await connection.execute(select(records.c.id).where(_owned(tenant, id)))).first():
            raise Conflict(
                "the record is not finished; it cannot be deleted yet", hint="cancel it first"
            )
        return None
    keys = await connection.scalars(
        delete(files).where(files.c.record_id == id).returning(files.c.key)
    )
    return tuple(sorted(keys))


async def expired(
    connection: AsyncConnection, older_than: float | None, total_bytes: int | None, limit: int
) -> list[Expired]:
    """Finished records that are too old, or the oldest ones that records have no room for."""
    reasons: list[ColumnElement[bool]] = []
    if older_than is not None:
        reasons.append(records.c.finished_at < now() - millis(older_than))
    if total_bytes is not None:
        ids = await _too_much(connection, total_bytes, limit)
        reasons.append(records.c.id.in_(ids))
    if not reasons:
        return []
    rows = await connection.execute(
        select(records.c.tenant, records.c.id)
        .where(_removable(), or_(*reasons))
        .order_by(records.c.finished_at, records.c.id)
        .limit(limit)
    )
    return [Expired(tenant=row.tenant, id=row.id) for row in rows]


def _removable() -> ColumnElement[bool]:
    return and_(records.c.state.in_(FINAL), records.c.starred.is_(False))


async def _too_much(connection: AsyncConnection, total_bytes: int, limit: int) -> list[str]:
    # What belongs to no record, as an upload, makes no record go: it would not get smaller by that.
    theirs = select(func.sum(files.c.size)).where(files.c.record_id != "")
    total = (await connection.execute(theirs)).scalar_one()
    over = int(total or 0) - total_bytes
    if over <= 0:
        return []
    size = func.sum(files.c.size).label("size")
    rows = await connection.execute(
        select(records.c.id, size)
        .join(files, files.c.record_id == records.c.id)
        .where(_removable())
        .group_by(records.c.id)
        .order_by(records.c.finished_at, records.c.id)
        .limit(limit)
    )
    ids: list[str] = []
    for row in rows:
        if over <= 0:
            break
        ids.append(row.id)
        over -= int(row.size)
    return ids
