"""The last transaction: success with its files, failure, cancel; and what a run pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs import usage
from linocut.jobs.clock import DAY, millis, now
from linocut.jobs.moves import Story, finish, held
from linocut.jobs.record import Record, State, StoredFile
from linocut.jobs.rows import record_of, row_of_file
from linocut.jobs.schema import files as known_files
from linocut.jobs.schema import records


async def succeed(
    connection: AsyncConnection,
    id: str,
    fence: int,
    *,
    files: Sequence[StoredFile],
    result: Mapping[str, Any],
    seconds: float,
    story: Story = (),
) -> bool:
    """Whether the record now ends in SUCCESS with these files, or did so already."""
    keys = [file.key for file in files]
    row = await finish(
        connection,
        held(id, fence),
        State.SUCCESS,
        result,
        story=story,
        result=dict(result),
        result_keys=keys,
        paid=seconds,
    )
    if row is None:
        return await _ended_so(connection, id, fence, state=State.SUCCESS, result_keys=keys)
    if files:
        owned = [replace(file, record_id=id, tenant=row.tenant) for file in files]
        await connection.execute(
            insert(known_files).values(created_at=now(), used_at=now()),
            [row_of_file(file) for file in owned],
        )
    return True


async def fail(
    connection: AsyncConnection,
    id: str,
    fence: int,
    error: Mapping[str, Any],
    *,
    seconds: float,
    story: Story = (),
) -> bool:
    """Whether the record now ends in FAILURE with this error, or did so already."""
    row = await finish(
        connection,
        held(id, fence),
        State.FAILURE,
        error,
        story=story,
        error=dict(error),
        paid=seconds,
    )
    if row is None:
        return await _ended_so(connection, id, fence, state=State.FAILURE, error=dict(error))
    return True


async def _ended_so(connection: AsyncConnection, id: str, fence: int, **values: Any) -> bool:
    # The answer to the first writing may have been lost on its way; the writing was not.
    same = [records.c[name] == value for name, value in values.items()]
    found = await connection.execute(
        select(records.c.id).where(records.c.id == id, records.c.fence == fence, *same)
    )
    return found.first() is not None


async def cancel(connection: AsyncConnection, tenant: str, id: str) -> tuple[Record | None, bool]:
    """The record, CANCELED if it was open, and whether that is news."""
    mine = and_(records.c.tenant == tenant, records.c.id == id)
    row = await finish(connection, mine, State.CANCELED, {})
    if row is not None:
        return record_of(row), True
    found = (await connection.execute(select(records).where(mine))).one_or_none()
    return (record_of(found) if found else None), False


async def settle(connection: AsyncConnection, run: Record, seconds: float) -> bool:
    """Whether a canceled run paid just now; its record may be deleted by now, the bill is not.

    run: the record as it was claimed.
    """
    changed = await connection.execute(
        update(records)
        .where(
            records.c.id == run.id,
            records.c.fence == run.fence,
            records.c.state == State.CANCELED,
            records.c.paid.is_(None),
        )
        .values(paid=millis(seconds))
    )
    if not changed.rowcount and await _is_there(connection, run.id):
        return False
    day = millis(run.created_at) // DAY
    await usage.settle(connection, run.key_id, day, reserved=0, used=millis(seconds))
    return True


async def _is_there(connection: AsyncConnection, id: str) -> bool:
    found = await connection.execute(select(records.c.id).where(records.c.id == id))
    return found.first() is not None
