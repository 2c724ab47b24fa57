"""One trip to the thread for each statement, and all that SQLAlchemy wants of a cursor."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from linocut.jobs.sqlite import Connection, connect

words = Table("words", MetaData(), Column("id", Integer, primary_key=True), Column("word", Text))


def on_a_connection(path: Path, story: Any) -> Any:
    """What a story on a connection of SQLAlchemy's answers; the table is there."""

    async def told() -> Any:
        engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}",
            connect_args={"async_creator_fn": connect},
            poolclass=NullPool,
        )
        async with engine.begin() as connection:
            await connection.run_sync(words.metadata.create_all)
            return await story(connection)

    return asyncio.run(told())


def test_rows_counts_and_ids_come_back(tmp_path: Path) -> None:
    async def story(connection: AsyncConnection) -> None:
        added = await connection.execute(insert(words).values(word="a"))
        assert added.inserted_primary_key == (1,)
        await connection.execute(insert(words), [{"word": "b"}, {"word": "c"}])
        found = await connection.execute(select(words).order_by(words.c.id))
        assert found.all() == [(1, "a"), (2, "b"), (3, "c")]
        changed = await connection.execute(update(words).where(words.c.id > 1).values(word="x"))
        assert changed.rowcount == 2
        gone = await connection.execute(
            update(words).where(words.c.id == 9).values(word="y").returning(words.c.id)
        )
        assert gone.all() == []
        back = await connection.execute(
            update(words).where(words.c.id == 1).values(word="z").returning(*words.c)
        )
        assert back.one() == (1, "z")

    on_a_connection(tmp_path / "a.db", story)


def test_a_statement_makes_one_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trips = []
    plain = Connection._execute

    async def counted(self: Connection, work: Any, *words: Any, **said: Any) -> Any:
        trips.append(work)
        return await plain(self, work, *words, **said)  # type: ignore[no-untyped-call]

    async def story(connection: AsyncConnection) -> None:
        await connection.execute(insert(words), [{"word": "b"}, {"word": "c"}])
        trips.clear()
        assert len((await connection.execute(select(words))).all()) == 2
        assert len(trips) == 1
        await connection.execute(insert(words), [{"word": "d"}, {"word": "e"}])
        assert len(trips) == 2

    monkeypatch.setattr(Connection, "_execute", counted)
    on_a_connection(tmp_path / "a.db", story)


def test_errors_come_back_and_the_connection_can_still_be_used(tmp_path: Path) -> None:
    async def story(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(id=1, word="a"))
        with pytest.raises(IntegrityError) as refused:
            await connection.execute(insert(words).values(id=1, word="b"))
        assert isinstance(refused.value.orig, sqlite3.IntegrityError)
        with pytest.raises(OperationalError):
            await connection.exec_driver_sql("SELECT nothing FROM nowhere")
        assert (await connection.execute(select(words.c.word))).scalars().all() == ["a"]

    on_a_connection(tmp_path / "a.db", story)


def test_what_was_committed_is_in_the_file(tmp_path: Path) -> None:
    async def story(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(word="ü \U0001f34e"))

    on_a_connection(tmp_path / "a.db", story)

    async def read(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(words.c.word))).scalar_one()

    assert on_a_connection(tmp_path / "a.db", read) == "ü \U0001f34e"
