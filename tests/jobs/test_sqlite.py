"""A transaction is one trip to a thread, and the trips wait in line."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, OperationalError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.jobs import sqlite
from linocut.jobs.sqlite import READERS, Threaded, answered

words = Table("words", MetaData(), Column("id", Integer, primary_key=True), Column("word", Text))
owned = Table(
    "owned",
    words.metadata,
    Column("word_id", ForeignKey("words.id", deferrable=True, initially="DEFERRED")),
)


def on_a_file(
    path: Path,
    story: Callable[[Threaded, Threaded], Awaitable[Any]],
    busy_timeout: float = 5.0,
) -> Any:
    """What a story of a writer and a reader answers; the table is there."""

    async def told() -> Any:
        url = make_url(f"sqlite:///{path}")
        writer, reader = (Threaded(url, busy_timeout, writing=writing) for writing in (True, False))
        words.metadata.create_all(writer._engine)
        try:
            return await story(writer, reader)
        finally:
            await writer.close()
            await reader.close()

    return asyncio.run(told())


def test_rows_counts_and_ids_come_back(tmp_path: Path) -> None:
    async def work(connection: AsyncConnection) -> None:
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
        assert await connection.scalar(select(words.c.word).where(words.c.id == 1)) == "a"
        assert list(await connection.scalars(select(words.c.word))) == ["a", "x", "x"]
        assert connection.dialect.name == "sqlite"

    on_a_file(tmp_path / "a.db", lambda writer, _: writer.transact(work))


def test_a_transaction_makes_one_trip_away_from_the_event_loop(tmp_path: Path) -> None:
    trips = []

    async def work(connection: AsyncConnection) -> None:
        trips.append(threading.current_thread())
        for word in "ab":
            await connection.execute(insert(words).values(word=word))
        trips.append(threading.current_thread())

    on_a_file(tmp_path / "a.db", lambda writer, _: writer.transact(work))
    first, last = trips
    assert first is last
    assert first is not threading.current_thread()


def test_what_was_committed_is_read_and_what_failed_is_not(tmp_path: Path) -> None:
    async def write(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(id=1, word="ü \U0001f34e"))

    async def fail(connection: AsyncConnection) -> None:
        await connection.execute(update(words).values(word="b"))
        await connection.execute(insert(words).values(id=1, word="c"))

    async def read(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, reader: Threaded) -> None:
        await writer.transact(write)
        with pytest.raises(IntegrityError) as refused:
            await writer.transact(fail)
        assert isinstance(refused.value.orig, sqlite3.IntegrityError)
        assert await reader.transact(read) == ["ü \U0001f34e"]
        with pytest.raises(OperationalError, match="readonly"):
            await reader.transact(write)
        assert await reader.transact(read) == ["ü \U0001f34e"]

    on_a_file(tmp_path / "a.db", story)


def test_writers_go_one_by_one_and_readers_a_few_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    together = threading.Barrier(READERS)

    async def alone(_: AsyncConnection) -> None:
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    async def at_once(_: AsyncConnection) -> None:
        together.wait(30)  # passes only when so many are here at the same time

    async def story(writer: Threaded, reader: Threaded) -> None:
        await asyncio.gather(*(writer.transact(alone) for _ in range(20)))
        await asyncio.gather(*(reader.transact(at_once) for _ in range(READERS)))

    on_a_file(tmp_path / "a.db", story)
    assert most == [1] * 20


def test_nobody_waits_in_line_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "LINE_SECONDS", 0.05)
    done = threading.Event()

    async def long(_: AsyncConnection) -> str:
        done.wait(30)
        return "done"

    async def story(writer: Threaded, _: Threaded) -> None:
        first = asyncio.create_task(writer.transact(long))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="did not move"):
            await writer.transact(long)
        done.set()
        assert await first == "done"
        assert await writer.transact(long) == "done"

    on_a_file(tmp_path / "a.db", story)


def test_who_goes_away_keeps_its_place_until_its_transaction_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LINE_SECONDS", 0.05)
    said: list[str] = []
    began, may_end = threading.Event(), threading.Event()

    async def long(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(word="long"))
        began.set()
        may_end.wait(30)
        said.append("long ends")

    async def next_one(connection: AsyncConnection) -> Any:
        said.append("next")
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, _: Threaded) -> None:
        first = asyncio.create_task(writer.transact(long))
        await asyncio.to_thread(began.wait, 30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(TimeoutError, match="did not move"):
            await writer.transact(next_one)
        monkeypatch.setattr(sqlite, "LINE_SECONDS", 30.0)
        may_end.set()
        assert await writer.transact(next_one) == ["long"], "it was finished, and not half"

    on_a_file(tmp_path / "a.db", story)
    assert said == ["long ends", "next"]


def test_who_goes_away_in_line_is_passed_over(tmp_path: Path) -> None:
    may_end = threading.Event()

    async def long(_: AsyncConnection) -> None:
        may_end.wait(30)

    async def never(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(word="never"))

    async def read(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, reader: Threaded) -> None:
        first = asyncio.create_task(writer.transact(long))
        waiting = [asyncio.create_task(writer.transact(never)) for _ in range(3)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        may_end.set()
        await first
        assert await writer.transact(read) == []

    on_a_file(tmp_path / "a.db", story)


def test_closing_waits_for_what_runs(tmp_path: Path) -> None:
    began, may_end = threading.Event(), threading.Event()

    async def long(connection: AsyncConnection) -> None:
        began.set()
        may_end.wait(30)
        await connection.execute(insert(words).values(word="whole"))

    async def read(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, reader: Threaded) -> None:
        left = asyncio.create_task(writer.transact(long))
        await asyncio.to_thread(began.wait, 30)
        left.cancel()
        closing = asyncio.create_task(writer.close())
        await asyncio.wait({left})
        assert not closing.done()
        may_end.set()
        await closing
        assert await reader.transact(read) == ["whole"]

    on_a_file(tmp_path / "a.db", story)


def test_what_cannot_be_committed_leaves_the_next_one_a_clean_connection(tmp_path: Path) -> None:
    async def orphan(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(word="lost"))
        await connection.execute(insert(owned).values(word_id=99))  # told of at the commit

    async def fine(connection: AsyncConnection) -> Any:
        await connection.execute(insert(words).values(word="kept"))
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, _: Threaded) -> None:
        with pytest.raises(IntegrityError):
            await writer.transact(orphan)
        assert await writer.transact(fine) == ["kept"]

    on_a_file(tmp_path / "a.db", story)


def test_a_file_that_another_process_writes_is_busy_and_then_free(tmp_path: Path) -> None:
    async def work(connection: AsyncConnection) -> Any:
        await connection.execute(insert(words).values(word="mine"))

    async def story(writer: Threaded, _: Threaded) -> None:
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                await writer.transact(work)
            other.execute("ROLLBACK")
            await writer.transact(work)

    on_a_file(tmp_path / "a.db", story, busy_timeout=0.05)


def test_a_transaction_that_waits_for_something_else_is_a_fault() -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="something else"):
        answered(work())


def test_a_fault_in_the_middle_takes_everything_back(tmp_path: Path) -> None:
    async def work(connection: AsyncConnection) -> None:
        await connection.execute(insert(words).values(word="half"))
        await asyncio.sleep(0)

    async def read(connection: AsyncConnection) -> Any:
        return (await connection.execute(select(words.c.word))).scalars().all()

    async def story(writer: Threaded, _: Threaded) -> None:
        with pytest.raises(RuntimeError, match="something else"):
            await writer.transact(work)
        assert await writer.transact(read) == []

    on_a_file(tmp_path / "a.db", story)
