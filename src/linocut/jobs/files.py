"""Files of the image store that the database knows: results, fetched references, uploads.

A file that the store holds and the database does not know is left over and may go.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs.clock import millis, now
from linocut.jobs.record import StoredFile
from linocut.jobs.rows import file_of, row_of_file
from linocut.jobs.schema import files

_BATCH: Final = 500


async def add(connection: AsyncConnection, file: StoredFile) -> None:
    """The database knows this file from now on."""
    await connection.execute(
        insert(files).values(created_at=now(), used_at=now(), **row_of_file(file))
    )


async def get(connection: AsyncConnection, key: str) -> StoredFile | None:
    """The file of this key, of whoever it is."""
    row = (await connection.execute(select(files).where(files.c.key == key))).one_or_none()
    return file_of(row) if row else None


async def remove(connection: AsyncConnection, tenant: str, key: str) -> bool:
    """Whether there was such a file of this tenant."""
    gone = await connection.execute(
        delete(files).where(files.c.tenant == tenant, files.c.key == key)
    )
    return gone.rowcount == 1


async def known(connection: AsyncConnection, keys: Iterable[str]) -> set[str]:
    """Those of the keys that the database knows."""
    found: set[str] = set()
    rest = iter(keys)
    while batch := list(islice(rest, _BATCH)):
        found.update(await connection.scalars(select(files.c.key).where(files.c.key.in_(batch))))
    return found


async def expired(
    connection: AsyncConnection, kind: str, older_than: float, limit: int
) -> list[StoredFile]:
    """Files of this kind and of no record, last used more than `older_than` seconds ago."""
    rows = await connection.execute(
        select(files)
        .where(files.c.kind == kind, files.c.record_id == "")
        .where(files.c.used_at < now() - millis(older_than))
        .order_by(files.c.used_at, files.c.key)
        .limit(limit)
    )
    return [file_of(row) for row in rows]
