"""SQLite for an event loop: a transaction is one trip to a thread, however many statements it has.

A driver for event loops goes to its thread and back for each statement, and these trips cost more
than the statements. Here the whole work of a transaction runs in the thread; what it awaits there
is the database alone, and that has answered before anybody could wait.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import TimeoutError as LineTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

READERS: Final = 4
LINE_SECONDS: Final = 30.0
CACHE_KB: Final = 512  # of each connection; the system keeps the file's pages anyway


class Threaded:
    """A way into an SQLite file: writers go one by one, readers a few at a time.

    Whoever goes away while its transaction runs keeps its place until the thread is done: no
    thread can be stopped, and the next one in line must not meet it.
    """

    def __init__(self, url: URL, busy_timeout: float, *, writing: bool) -> None:
        most = 1 if writing else READERS
        self._engine = _engine(url, busy_timeout, most, writing=writing)
        self._threads = ThreadPoolExecutor(most, "sqlite-writer" if writing else "sqlite-reader")
        self._places = asyncio.Semaphore(most)

    async def transact(self, work: Work[T]) -> T:
        """What the work answers, in a transaction of its own."""
        await self._take_place()
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, work)
        running.add_done_callback(lambda _: self._places.release())
        return await asyncio.shield(running)

    async def close(self) -> None:
        """Wait for what runs, and let go of every connection."""
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._engine.dispose)

    async def _take_place(self) -> None:
        """Wait in line, but not for ever."""
        try:
            async with asyncio.timeout(LINE_SECONDS):
                await self._places.acquire()
        except TimeoutError as error:
            raise LineTimeout(f"the line did not move for {LINE_SECONDS:g} s") from error

    def _run(self, work: Work[T]) -> T:
        with self._engine.begin() as connection:
            return answered(work(cast(AsyncConnection, Here(connection))))


class Here:
    """A connection of this very thread, in the shape of one of an event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.dialect = connection, connection.dialect

    async def execute(self, *words: Any) -> Any:
        """The statement's result."""
        return self._connection.execute(*words)

    async def scalar(self, *words: Any) -> Any:
        """The first column of its first row."""
        return self._connection.scalar(*words)

    async def scalars(self, *words: Any) -> Any:
        """The first column of its rows."""
        return self._connection.scalars(*words)


def answered(work: Awaitable[T]) -> T:
    """What work answers that waits for nothing."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        return cast(T, done.value)
    steps.close()
    raise RuntimeError("a transaction waited for something else than its database")


def _engine(url: URL, busy_timeout: float, most: int, *, writing: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout, "check_same_thread": False},
        pool_size=most,
        max_overflow=0,
        hide_parameters=True,  # they hold prompts, and errors are logged
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing; we do, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA cache_size=-{CACHE_KB}")
        cursor.execute(f"PRAGMA busy_timeout={round(busy_timeout * 1000)}")
        if not writing:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        cast(sqlite3.Connection, driver).execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine
