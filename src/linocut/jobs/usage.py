"""Worker seconds by key and UTC day: reserved when a request comes in, settled when it ends.

What a record reserves and pays belongs to the day on which it came in.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs.clock import DAY, now, seconds
from linocut.jobs.schema import usage

KEPT_DAYS: Final = 400
_OF: Final = and_(usage.c.key_id == bindparam("whose"), usage.c.day == bindparam("of"))
_RESERVE: Final = (
    update(usage).where(_OF).values(reserved_ms=usage.c.reserved_ms + bindparam("more"))
)
_SETTLE: Final = (
    update(usage)
    .where(_OF)
    .values(
        reserved_ms=usage.c.reserved_ms - bindparam("reserved"),
        used_ms=usage.c.used_ms + bindparam("used"),
    )
)
_COUNTED: Final = select(usage.c.reserved_ms + usage.c.used_ms).where(
    usage.c.key_id == bindparam("whose"), usage.c.day == now() // DAY
)
_TODAY: Final = select(now(), _COUNTED.scalar_subquery())


async def reserve(connection: AsyncConnection, key_id: str, day: int, ms: int) -> None:
    """`ms` more are spoken for. Only for whoever has the turn to submit."""
    said = {"whose": key_id, "of": day, "more": ms}
    if (await connection.execute(_RESERVE, said)).rowcount:
        return
    await connection.execute(
        insert(usage).values(key_id=key_id, day=day, reserved_ms=ms, used_ms=0)
    )


async def settle(
    connection: AsyncConnection, key_id: str, day: int, *, reserved: int, used: int
) -> None:
    """Give back what was reserved and pay what was used, in milliseconds."""
    said = {"whose": key_id, "of": day, "reserved": reserved, "used": used}
    await connection.execute(_SETTLE, said)


async def clock(connection: AsyncConnection) -> float:
    """The database's time, in seconds since 1970."""
    ms, _ = await today(connection, "")
    return seconds(ms)


async def today(connection: AsyncConnection, key_id: str) -> tuple[int, int]:
    """The time, and what counts against the key's quota today, in milliseconds."""
    time, ms = (await connection.execute(_TODAY, {"whose": key_id})).one()
    return time, ms or 0


async def used_seconds(connection: AsyncConnection, key_id: str) -> float:
    """What counts against the key's quota today."""
    _, counted = await today(connection, key_id)
    return seconds(counted)


async def tidy(connection: AsyncConnection, day: int) -> None:
    """Forget what nobody asks for any more."""
    await connection.execute(delete(usage).where(usage.c.day < day - KEPT_DAYS))
