"""Housekeeping: leases that nobody kept, pictures that nobody owns, records that had their time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from linocut.errors import Conflict, StorageUnavailable, Unavailable
from linocut.images.store import PictureStore
from linocut.jobs.store import Store

log = structlog.get_logger(__name__)

PAGE: Final = 200
DAY: Final = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long things are kept. Seconds and bytes; None keeps for ever.

    uploads: since they were last used.   orphans: the age from which a stored file that the
    database does not know is removed, and a fetched picture that came to no record.
    every: how often everything but the leases is looked through.
    """

    lease: float = 30.0
    max_attempts: int = 3
    records: float | None = None
    total_bytes: int | None = None
    uploads: float | None = None
    orphans: float = DAY
    every: float = 600.0


class Sweeper:
    """Sweeps for ever; a database or a disk that is away is waited for."""

    def __init__(self, store: Store, pictures: PictureStore, keeping: Keeping) -> None:
        self.store, self.pictures, self.keeping = store, pictures, keeping

    async def run(self) -> None:
        """Leases often, the rest now and then; a disk that is slow holds up no lease."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._look_after_leases())
            both.create_task(self._look_after_the_rest())

    async def _look_after_leases(self) -> None:
        while True:
            try:
                await self.sweep_leases()
            except Unavailable as error:
                log.warning("sweeping waits", reason=error.message)
                await self._database_is_back()
                # Runs could not renew their leases meanwhile either: give them the time to.
                await asyncio.sleep(self.keeping.lease)
            await asyncio.sleep(self.keeping.lease / 4)

    async def _look_after_the_rest(self) -> None:
        while True:
            try:
                await self.sweep_all()
            except (Unavailable, StorageUnavailable) as error:
                log.warning("sweeping waits", reason=error.message)
            await asyncio.sleep(max(self.keeping.every, self.keeping.lease / 4))

    async def _database_is_back(self) -> None:
        while True:
            with suppress(Unavailable):
                return await self.store.ping()
            await asyncio.sleep(self.keeping.lease / 4)

    async def sweep_leases(self) -> int:
        """How many runs that nobody kept alive went back to the queue, or failed for good."""
        expired = await self.store.expire_leases(self.keeping.max_attempts)
        if expired:
            log.warning("leases expired", runs=expired)
        return expired

    async def sweep_all(self) -> None:
        """Retention, orphans, leftovers of interrupted writes, and old rows."""
        await self.sweep_records()
        await self.sweep_uploads()
        await self.sweep_references()
        await self.sweep_orphans()
        await self.pictures.sweep(self.keeping.orphans)
        await self.store.tidy()

    async def sweep_records(self) -> int:
        """How many finished records were deleted with their files, because of age or size."""
        keeping, removed = self.keeping, 0
        if keeping.records is None and keeping.total_bytes is None:
            return 0
        while expired := await self.store.expired_records(
            older_than=keeping.records, total_bytes=keeping.total_bytes, limit=PAGE
        ):
            for record in expired:
                try:
                    keys = await self.store.delete(record.tenant, record.id)
                except Conflict:
                    continue
                for key in keys or ():
                    await self.pictures.delete(key)
                removed += 1
            log.info("records had their time", deleted=len(expired))
        return removed

    async def sweep_uploads(self) -> int:
        """How many uploads that no record uses were deleted because of their age."""
        age = self.keeping.uploads
        return 0 if age is None else await self._sweep_files("upload", age)

    async def sweep_references(self) -> int:
        """How many pictures were deleted that were fetched for a request that was not taken."""
        return await self._sweep_files("reference", self.keeping.orphans)

    async def _sweep_files(self, kind: str, older_than: float) -> int:
        removed = 0
        for file in await self.store.expired_files(kind, older_than, PAGE):
            if await self.store.delete_file(file.tenant, file.key):
                await self.pictures.delete(file.key)
                removed += 1
        return removed

    async def sweep_orphans(self) -> int:
        """How many stored files that the database does not know were removed."""
        removed = 0
        keys = await self.pictures.keys(self.keeping.orphans)
        for start in range(0, len(keys), PAGE):
            page = keys[start : start + PAGE]
            known = await self.store.known_keys(page)
            for key in set(page) - known:
                removed += await self.pictures.delete(key)
        if removed:
            log.info("orphans removed", files=removed)
        return removed
