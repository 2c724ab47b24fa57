"""Two ways into the database, reading and writing, and its errors in our words.

SQLite has one writer: the writing way has one connection, so writers of this process wait in line
for it instead of meeting a locked file. PostgreSQL gets one way for both.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from linocut.errors import Conflict, InvalidRequest, LinocutError, Unavailable
from linocut.jobs.sqlite import Threaded, Work

T = TypeVar("T")

RETRY_AFTER: Final = 2.0
# Of a whole transaction with a server that may hang; to give it up takes psycopg up to 10 s more.
DEADLINE: Final = 15.0
_DRIVERS: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}
_POSTGRESQL: Final = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=12000 -c lock_timeout=10000"
    " -c idle_in_transaction_session_timeout=30000",
    "tcp_user_timeout": 10_000,
    "application_name": "linocut",
}
_SAID: Final = (
    ("locked", "the database is busy"),
    ("readonly", "the database cannot be written"),
    ("read-only", "the database cannot be written"),
    ("is full", "the disk of the database is full"),
    ("No space left", "the disk of the database is full"),
)


def address(url: str) -> URL:
    """The address of a database, with its driver; InvalidRequest if it is of neither kind."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise _unknown_address() from error
    kind = parsed.drivername.partition("+")[0]
    if kind not in _DRIVERS or (kind == "sqlite" and not parsed.database):
        raise _unknown_address()
    return parsed.set(drivername=_DRIVERS[kind])


def _unknown_address() -> InvalidRequest:
    return InvalidRequest(
        "the address of the database is of no kind that is known",
        field="database_url",
        hint="use sqlite:///path/linocut.db or postgresql://user@host/name",
    )


class Database:
    """An open database: work done in one transaction, reading or writing."""

    def __init__(self, url: URL, *, busy_timeout: float) -> None:
        self.deadline: float | None = None
        if url.get_backend_name() == "sqlite":
            self._reader: Way = Threaded(url, busy_timeout, writing=False)
            self._writer: Way = Threaded(url, busy_timeout, writing=True)
        else:
            self.deadline = DEADLINE
            self._reader = self._writer = Pooled(url)

    async def read(self, work: Work[T]) -> T:
        """What `work` reads, of one moment."""
        return await self._transact(self._reader, work)

    async def write(self, work: Work[T]) -> T:
        """What `work` answers, once what it wrote is safe on the disk."""
        return await self._transact(self._writer, work)

    async def _transact(self, way: Way, work: Work[T]) -> T:
        with plain_errors():
            async with asyncio.timeout(self.deadline):
                return await way.transact(work)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._reader.close()
        if self._writer is not self._reader:
            await self._writer.close()


class Way(Protocol):
    """A way into a database."""

    async def transact(self, work: Work[T]) -> T:
        """What the work answers, in a transaction of its own."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


class Pooled:
    """The way into a PostgreSQL, for readers and writers."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_pre_ping=True,
            pool_size=10,
            max_overflow=10,
            pool_timeout=10,
            hide_parameters=True,
            connect_args=_POSTGRESQL,
        )

    async def transact(self, work: Work[T]) -> T:
        """What the work answers, in a transaction of its own."""
        async with self._engine.begin() as connection:
            return await work(connection)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._engine.dispose()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Errors of the database and its driver become ours."""
    try:
        yield
    except (StatementError, PoolTimeout, OSError, OverflowError, sqlite3.Error) as error:
        raise _ours(error) from error


def _ours(error: Exception) -> LinocutError:
    original = error.orig if isinstance(error, StatementError) else None
    if isinstance(original, LinocutError):
        return original
    if isinstance(error, OverflowError | DataError):
        return InvalidRequest("a value is outside what the database can keep")
    if isinstance(error, IntegrityError):
        return Conflict("something of that name is there already")
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        raise error  # a fault of ours, and no word about the database
    words = next((ours for theirs, ours in _SAID if theirs in str(original or error)), "")
    return Unavailable(
        words or "the database does not answer",
        retry_after=RETRY_AFTER,
        hint="try again in a moment",
    )
