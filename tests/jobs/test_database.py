"""How the databases are driven, and what their errors become."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from linocut.errors import Conflict, InvalidRequest, Unavailable
from linocut.jobs.database import address
from linocut.jobs.store import Store


@pytest.mark.parametrize(
    ("url", "driver", "name"),
    [
        ("sqlite:///a/b.db", "sqlite", "a/b.db"),
        ("sqlite:////a/b.db", "sqlite", "/a/b.db"),
        ("postgresql://u:p@h:1/d", "postgresql+psycopg", "d"),
        ("postgres://u@h/d", "postgresql+psycopg", "d"),
        ("postgresql+asyncpg://h/d", "postgresql+psycopg", "d"),
    ],
)
def test_an_address_is_read_whatever_driver_it_names(url: str, driver: str, name: str) -> None:
    place = address(url)
    assert (place.drivername, place.database) == (driver, name)
    assert place.password == ("p" if ":p@" in url else None)


async def pragma(store: Store, name: str, *, writing: bool) -> Any:
    """A setting of SQLite, as the store's connections have it."""
    way = store._database.write if writing else store._database.read

    async def ask(connection: Any) -> Any:
        return (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()

    return await way(ask)


def test_sqlite_is_safe_against_a_power_cut_and_minds_its_references(tmp_path: Path) -> None:
    async def story() -> None:
        store = await Store.open(f"sqlite:///{tmp_path / 'a.db'}", busy_timeout=1.5)
        for writing in (True, False):
            found = {
                name: await pragma(store, name, writing=writing)
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
            assert found == {
                "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1500,
            }  # fmt: skip
            assert await pragma(store, "query_only", writing=writing) == (not writing)
        await store.close()

    asyncio.run(story())


def test_a_file_that_somebody_else_writes_is_busy_and_readable(tmp_path: Path, jobs: Any) -> None:
    path = tmp_path / "a.db"

    async def story() -> None:
        store = await Store.open(f"sqlite:///{path}", busy_timeout=0.05)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="busy"):
                await store.submit(jobs.submission(), jobs.wide)
            with pytest.raises(Unavailable, match="busy"):
                await store.ping()
            assert (await store.backlog()).queued == 0
            other.execute("ROLLBACK")
        assert await store.submit(jobs.submission(), jobs.wide)
        await store.close()

    asyncio.run(story())


def test_a_full_disk_is_unavailable_and_nothing_is_half_written(tmp_path: Path, jobs: Any) -> None:
    async def story() -> None:
        store = await Store.open(f"sqlite:///{tmp_path / 'a.db'}")
        sent = jobs.submission("x" * 15_000, body={"x": "y" * 200_000})
        await store.submit(sent, jobs.wide)
        pages = await pragma(store, "page_count", writing=True)
        await pragma(store, f"max_page_count={pages + 5}", writing=True)
        with pytest.raises(Unavailable, match="full"):
            await store.submit(sent, jobs.wide)
        assert (await store.backlog()).queued == 1
        assert await store.used_seconds("ann-key") == 2.0
        await pragma(store, "max_page_count=100000", writing=True)
        assert (await store.submit(sent, jobs.wide)).place == 2
        await store.close()

    asyncio.run(story())


def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable):
        asyncio.run(Store.open(f"sqlite:///{path}"))


def test_a_hundred_writers_wait_in_line(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = (store.submit(jobs.submission(), jobs.wide) for _ in range(100))
        ids = {one.record.id for one in await asyncio.gather(*sent)}
        assert len(ids) == 100

    run(story)


def test_what_a_transaction_began_is_undone_when_it_fails(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        async def work(connection: Any) -> None:
            await connection.execute(text("UPDATE turns SET name = 'x' WHERE name = 'submit'"))
            raise InvalidRequest("no")

        with pytest.raises(InvalidRequest, match="no"):
            await store._database.write(work)
        rows = await jobs.select_all(store, text("SELECT name FROM turns ORDER BY name"))
        assert [row.name for row in rows] == ["claim", "submit"]

    run(story)


def test_an_error_of_the_database_says_nothing_of_what_was_to_be_stored(
    run: Any, jobs: Any
) -> None:
    async def story(store: Store) -> None:
        file = jobs.file(original_name="zebrafish.png")
        await store.add_file(file)
        with pytest.raises(Conflict) as refused:
            await store.add_file(file)
        assert "zebrafish" not in "".join(traceback.format_exception(refused.value))

    run(story)
