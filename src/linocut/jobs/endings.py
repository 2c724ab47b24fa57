"""The last transaction: success with its files, failure, cancel; and what a run pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.errors import ContentRefused
from linocut.jobs import usage
from linocut.jobs.clock import DAY, millis, now
from linocut.jobs.moves import HELD, THIS, Story, finish, finishing, held
from linocut.jobs.record import Record, State, StoredFile
from linocut.jobs.rows import record_of, row_of_file
from linocut.jobs.schema import files as known_files
from linocut.jobs.schema import records

_SUCCEED: Final = finishing(HELD, State.SUCCESS)
_FAIL: Final = finishing(HELD, State.FAILURE)
_CANCEL: Final = finishing(and_(THIS, records.c.tenant == bindparam("whose")), State.CANCELED)
_ADD_FILE: Final = insert(known_files).values(created_at=now(), used_at=now())


async def succeed(
    connection: AsyncConnection,
    id: str,
    fence: int,
    *,
    files: Sequence[StoredFile],
    result: Mapping[str, Any],
    seconds: float,
    story: Story = (),
) -> Record | None:
    """The record in SUCCESS with these files, now or since before; None if it is not."""
    keys = [file.key for file in files]
    ended = {"result": dict(result), "result_keys": keys, "paid": millis(seconds)}
    said = {**held(id, fence), **ended}
    row = await finish(connection, _SUCCEED, said, result, to=State.SUCCESS, story=story)
    if row is None:
        same = and_(records.c.state == State.SUCCESS, records.c.result_keys == keys)
        return await _ended_so(connection, id, fence, same)
    if files:
        owned = [replace(file, record_id=id, tenant=row.tenant) for file in files]
        await connection.execute(_ADD_FILE, [row_of_file(file) for file in owned])
    return record_of(row)


async def fail(
    connection: AsyncConnection,
    id: str,
    fence: int,
    error: Mapping[str, Any],
    *,
    seconds: float,
    story: Story = (),
) -> Record | None:
    """The record in FAILURE with this error, now or since before; None if it is not.

    Of what a safety check refused, the references that were stored for it alone are forgotten.
    """
    said = {**held(id, fence), "error": dict(error), "paid": millis(seconds)}
    row = await finish(connection, _FAIL, said, error, to=State.FAILURE, story=story)
    if row is None:
        same = and_(records.c.state == State.FAILURE, records.c.error == dict(error))
        return await _ended_so(connection, id, fence, same)
    if error.get("code") == ContentRefused.code:
        await connection.execute(delete(known_files).where(known_files.c.record_id == id))
    return record_of(row)


async def _ended_so(
    connection: AsyncConnection, id: str, fence: int, same: ColumnElement[bool]
) -> Record | None:
    # The answer to the first writing may have been lost on its way; the writing was not.
    found = await connection.execute(
        select(records).where(records.c.id == id, records.c.fence == fence, same)
    )
    row = found.one_or_none()
    return record_of(row) if row else None


async def cancel(connection: AsyncConnection, tenant: str, id: str) -> tuple[Record | None, bool]:
    """The record, CANCELED if it was open, and whether that is news."""
    said = {"this": id, "whose": tenant}
    row = await finish(connection, _CANCEL, said, {}, to=State.CANCELED)
    if row is not None:
        return record_of(row), True
    mine = and_(records.c.tenant == tenant, records.c.id == id)
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
