"""SQLite for an event loop, with one trip to the connection's thread for each statement.

aiosqlite makes a cursor, executes, fetches and closes in four trips, and the trips cost more than
the statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import partial
from typing import Any

import aiosqlite


class Trip(aiosqlite.Cursor):
    """A cursor that comes back from `execute` with all its rows and nothing left to close.

    What it knows of the last statement, as `rowcount`, is read from the closed cursor.
    """

    _conn: Connection

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.unused)
        self._rows: list[Any] = []

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> Trip:
        """Execute and fetch."""
        self._cursor, self._rows = await self._conn.trip(sql, parameters or (), many=False)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> Trip:
        """Execute once for each."""
        self._cursor, self._rows = await self._conn.trip(sql, parameters, many=True)
        return self

    async def fetchall(self) -> list[Any]:
        """The rows, which are here already."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Nothing is open."""


class Connection(aiosqlite.Connection):
    """An aiosqlite connection whose cursors make one trip."""

    unused: sqlite3.Cursor

    async def _connect(self) -> Connection:
        await super()._connect()
        self.unused = await self._execute(self._conn.cursor)  # type: ignore[no-untyped-call]
        return self

    def cursor(self) -> Trip:  # type: ignore[override]
        """A cursor, made without a trip."""
        return Trip(self)

    async def trip(
        self, sql: str, parameters: Any, *, many: bool
    ) -> tuple[sqlite3.Cursor, list[Any]]:
        """A statement's closed cursor and its rows."""
        return await self._execute(self._run, sql, parameters, many)  # type: ignore[no-untyped-call,no-any-return]

    def _run(self, sql: str, parameters: Any, many: bool) -> tuple[sqlite3.Cursor, list[Any]]:  # noqa: FBT001
        cursor = self._conn.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            return cursor, cursor.fetchall() if cursor.description else []
        finally:
            cursor.close()


def connect(path: str, **options: Any) -> Connection:
    """A connection to be awaited; its thread ends with the process."""
    connection = Connection(partial(sqlite3.connect, path, **options), iter_chunk_size=64)
    connection._thread.daemon = True
    return connection
