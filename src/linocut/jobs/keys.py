"""API keys, as digests: added, looked up, revoked."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs.clock import millis, now
from linocut.jobs.rows import key_of
from linocut.jobs.schema import api_keys
from linocut.jobs.terms import ApiKey

TOUCH_SECONDS: Final = 60.0  # "last used" is kept to the minute: a write less per request
_KEY: Final = select(api_keys).where(api_keys.c.id == bindparam("this"))


async def add(connection: AsyncConnection, key: ApiKey) -> ApiKey:
    """The key as it is kept, with the time at which it was added."""
    added = await connection.execute(
        insert(api_keys)
        .values(
            id=key.id,
            tenant=key.tenant,
            name=key.name,
            digest=key.digest,
            scopes=key.scopes,
            rate=key.rate,
            share=key.share,
            quota=_millis(key.quota_seconds),
            allow_unsafe=key.allow_unsafe,
            created_at=now(),
            expires_at=_millis(key.expires_at),
            revoked_at=_millis(key.revoked_at),
        )
        .returning(*api_keys.c)
    )
    return key_of(added.one())


def _millis(seconds: float | None) -> int | None:
    return None if seconds is None else millis(seconds)


async def get(connection: AsyncConnection, id: str) -> ApiKey | None:
    """A key by its id, revoked or not."""
    row = (await connection.execute(_KEY, {"this": id})).one_or_none()
    return key_of(row) if row else None


async def all_keys(connection: AsyncConnection) -> list[ApiKey]:
    """All keys, the oldest first."""
    rows = await connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))
    return [key_of(row) for row in rows]


async def revoke(connection: AsyncConnection, id: str) -> bool:
    """Whether there was such a key that was not revoked before."""
    changed = await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=now())
    )
    return changed.rowcount == 1


async def touch(connection: AsyncConnection, id: str) -> None:
    """It was used now."""
    stale = or_(
        api_keys.c.last_used_at.is_(None),
        api_keys.c.last_used_at < now() - millis(TOUCH_SECONDS),
    )
    await connection.execute(
        update(api_keys).where(api_keys.c.id == id, stale).values(last_used_at=now())
    )
