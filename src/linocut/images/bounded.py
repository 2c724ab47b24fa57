"""A picture store of which every call comes to an end, whatever stands behind it.

A disk that hangs, and a peer that accepts and says nothing or one byte now and then, answer neither
yes nor no. So a call has a deadline for all of it, from the question to the last byte; then the
store is unavailable, as if it had said so itself. What was given up may still happen later: a file
that nobody speaks of is the sweeper's, and the same bytes may be put again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from linocut.images.store import CHUNK, PictureStore, unavailable

LISTING: Final = 3600.0  # a walk through a million pictures on a slow disk takes most of it


class BoundedStore:
    """Another store, asked with a deadline.

    seconds: for one picture, or for a piece of it where it is read in pieces.   listing: for a walk
    through all of them.
    """

    def __init__(self, store: PictureStore, seconds: float, *, listing: float = LISTING) -> None:
        self.store, self.seconds, self.listing = store, seconds, listing
        self._asked: asyncio.Task[None] | None = None

    async def put(self, key: str, data: bytes) -> None:
        """The picture is stored for good; Conflict if the key is taken by other bytes."""
        async with _within(self.seconds, "stored"):
            await self.store.put(key, data)

    async def read(self, key: str, start: int = 0, end: int | None = None) -> bytes:
        """The bytes from `start` up to and without `end`, fewer where the file is shorter."""
        async with _within(self.seconds, "read"):
            return await self.store.read(key, start, end)

    async def open_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to and without `end`, piece by piece; holds nothing open.

        Each piece is a call of its own: a deadline for all would count what its reader takes.
        """
        for at in range(start, end, CHUNK):
            yield await self.read(key, at, min(at + CHUNK, end))

    async def size(self, key: str) -> int:
        """The picture's length in bytes."""
        async with _within(self.seconds, "read"):
            return await self.store.size(key)

    async def delete(self, key: str) -> bool:
        """Whether it was there; it is gone now."""
        async with _within(self.seconds, "deleted"):
            return await self.store.delete(key)

    async def keys(self, older_than: float) -> list[str]:
        """The keys of everything stored that is older than this many seconds."""
        async with _within(self.listing, "listed"):
            return await self.store.keys(older_than)

    async def sweep(self, older_than: float) -> int:
        """How many leftovers of interrupted puts, older than this many seconds, were removed."""
        async with _within(self.listing, "swept"):
            return await self.store.sweep(older_than)

    async def ping(self) -> None:
        """Nothing, or StorageUnavailable: whether pictures can be stored now.

        Who asks while an answer is waited for shares it: a store that hangs is asked by one call
        and not by one a second.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._ping())
            self._asked.add_done_callback(_heard)
        await asyncio.shield(self._asked)

    async def _ping(self) -> None:
        async with _within(self.seconds, "stored"):
            await self.store.ping()


def _heard(asked: asyncio.Task[None]) -> None:
    """Who asked may have gone; an error that nobody takes is no fault of the program."""
    if not asked.cancelled():
        asked.exception()


@asynccontextmanager
async def _within(seconds: float, done: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise unavailable(done, f"the store gave no answer for {seconds:g} s") from error
