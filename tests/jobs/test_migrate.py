"""From nothing to this version's tables, and back, with rows; on both databases."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from linocut.errors import Conflict
from linocut.jobs.database import address
from linocut.jobs.migrate import HEAD, migrate, revision
from linocut.jobs.schema import metadata
from linocut.jobs.store import Store


def ask(url: str, question: Any) -> Any:
    """What `question` finds out on a plain connection."""
    engine = create_engine(address(url), poolclass=NullPool)
    with engine.begin() as connection:
        return question(connection)


def tables(url: str) -> set[str]:
    """The names of a database's tables."""
    names: list[str] = ask(url, lambda connection: inspect(connection).get_table_names())
    return set(names) - {"alembic_version"}


def differ(context: Any, _there: Any, _ours: Any, there: Any, ours: Any) -> bool:
    """Whether two columns' types are written differently; alembic misreads a collation."""
    return bool(there.compile(context.dialect) != ours.compile(context.dialect))


def test_the_migrations_make_the_tables_of_the_schema(empty_url: str) -> None:
    migrate(address(empty_url))
    assert tables(empty_url) == set(metadata.tables)

    def differences(connection: Any) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": differ})
        return compare_metadata(context, metadata)

    assert ask(empty_url, differences) == []
    assert ask(empty_url, revision) == HEAD
    indexes: dict[str, Any] = ask(
        empty_url, lambda c: {i["name"]: i for i in inspect(c).get_indexes("events")}
    )
    assert indexes["uq_events_ending"]["unique"]


def test_down_and_up_again_with_rows(empty_url: str, jobs: Any) -> None:
    url = empty_url

    async def fill() -> None:
        store = await Store.open(url)
        sent = jobs.submission(idempotency_key="k", fingerprint="f", webhook="https://a.test")
        record = (await store.submit(sent, jobs.wide)).record
        await store.claim("lane", 30)
        await store.succeed(record.id, 1, [jobs.file()], {}, 1.0)
        await store.submit(jobs.submission(), jobs.wide)
        await store.close()

    asyncio.run(fill())
    migrate(address(url))  # nothing to do: nothing happens
    assert ask(url, lambda c: c.execute(text("SELECT count(*) FROM records")).scalar()) == 2
    migrate(address(url), to="base")
    assert tables(url) == set()
    asyncio.run(fill())
    assert ask(url, lambda c: c.execute(text("SELECT count(*) FROM records")).scalar()) == 2


def test_servers_that_start_together_migrate_once(postgresql: Any) -> None:
    url = postgresql.new()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrate(address(url)), range(4)))
    assert tables(url) == set(metadata.tables)


def test_a_database_that_is_one_version_newer_is_served_and_a_later_one_refused(
    empty_url: str, jobs: Any
) -> None:
    url = empty_url
    migrate(address(url))

    async def serve() -> None:
        store = await Store.open(url)
        await store.submit(jobs.submission(), jobs.wide)
        await store.close()

    mark = text("UPDATE alembic_version SET version_num = :revision")
    newer, later = (f"{int(HEAD) + more:04}" for more in (1, 2))
    ask(url, lambda c: c.execute(mark, {"revision": newer}))
    ask(url, lambda c: c.execute(text("ALTER TABLE records ADD COLUMN more TEXT")))
    asyncio.run(serve())
    assert ask(url, revision) == newer
    ask(url, lambda c: c.execute(mark, {"revision": later}))
    with pytest.raises(Conflict, match=later):
        asyncio.run(serve())


def test_a_file_is_copied_with_its_rows_before_its_tables_change(tmp_path: Path) -> None:
    path, copies = tmp_path / "a.db", tmp_path / "copies"
    place = address(f"sqlite:///{path}")
    migrate(place, backups=copies)
    migrate(place, backups=copies)
    assert not copies.exists(), "there was nothing to copy"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO turns VALUES ('mine')")
        connection.commit()
    migrate(place, backups=copies, to="base")
    (copy,) = copies.iterdir()
    assert copy.name.endswith(f"_schema_{HEAD}.db")
    assert copy.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(copy)) as connection:
        rows = connection.execute("SELECT name FROM turns ORDER BY name").fetchall()
    assert rows == [("claim",), ("mine",), ("submit",)]


def test_a_new_file_and_what_lies_beside_it_are_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    modes: dict[str, int] = {}

    async def story() -> None:
        store = await Store.open(f"sqlite:///{path}")
        await store.ping()
        there = list(tmp_path.iterdir())  # noqa: ASYNC240 - a handful
        modes.update({each.name: each.stat().st_mode & 0o777 for each in there})
        await store.close()

    before = os.umask(0o022)
    try:
        asyncio.run(story())
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["new.db", "new.db-wal", "new.db-shm"], 0o600)


def test_a_file_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.touch()
    path.chmod(0o640)
    migrate(address(f"sqlite:///{path}"))
    assert path.stat().st_mode & 0o777 == 0o640
