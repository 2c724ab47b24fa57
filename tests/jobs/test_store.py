"""The store as a whole: opening, telling of changes, callers that go away, databases that do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from linocut.errors import InvalidRequest, LinocutError, Unavailable
from linocut.jobs.record import Record, State
from linocut.jobs.store import Store

ERROR = {"code": "worker_failed", "message": "it crashed", "hint": ""}


def test_what_was_stored_is_there_after_closing_and_opening(url: str, jobs: Any) -> None:
    async def story() -> None:
        store = await Store.open(url)
        sent = await store.submit(jobs.submission(), jobs.wide)
        await store.close()
        store = await Store.open(url)
        assert await store.record("ann", sent.record.id) == sent.record
        await store.close()

    asyncio.run(story())


def test_an_empty_database_gets_its_tables(empty_url: str, jobs: Any) -> None:
    async def story() -> None:
        store = await Store.open(empty_url)
        assert await store.submit(jobs.submission(), jobs.wide)
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("url", ["mysql://a/b", "nonsense", "", "sqlite://", "sqlite:///"])
def test_an_address_of_no_known_kind_is_refused_in_words(url: str) -> None:
    with pytest.raises(InvalidRequest, match="address of the database") as refused:
        asyncio.run(Store.open(url))
    assert "sqlite:///" in refused.value.hint


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path}/no/folder.db", "postgresql://postgres@127.0.0.1:1/x"):
        with pytest.raises(Unavailable) as refused:
            asyncio.run(Store.open(url))
        assert refused.value.retry_after > 0


def test_every_change_is_told_once_it_is_safe(run: Any, jobs: Any) -> None:
    told: list[str] = []

    async def story(store: Store) -> None:
        store.wake, store.work = told.append, lambda: told.append("work")
        store.told = lambda id: told.append(f"onward {id}")

        async def heard() -> list[str]:
            heard = told.copy()
            told.clear()
            return heard

        sent = jobs.submission(idempotency_key="k", fingerprint="f")
        id = (await store.submit(sent, jobs.wide)).record.id
        assert await heard() == [id, "work"]
        await store.submit(sent, jobs.wide)
        assert await heard() == []
        await store.claim("lane", 0)
        assert await heard() == [f"onward {id}"]
        await store.claim("lane", 30)
        await store.heartbeat(id, 1, 0)
        await store.append(id, 9, [("progress", {})])
        assert await heard() == []
        await store.append(id, 1, [("progress", {})])
        assert await heard() == [f"onward {id}"]
        await asyncio.sleep(0.01)
        await store.expire_leases(3)
        assert await heard() == [id, "work"]
        await store.star("ann", id, starred=True)
        assert await heard() == []
        await store.cancel("ann", id)
        assert await heard() == [id]
        await store.cancel("ann", id)
        assert await heard() == []

    run(story)


def test_an_end_is_told_with_the_record_as_it_ended_and_once(run: Any, jobs: Any) -> None:
    over: list[Record] = []

    async def story(store: Store) -> None:
        store.over = over.append
        for end in ("succeed", "fail", "cancel"):
            id = (await store.submit(jobs.submission(), jobs.wide)).record.id
            await store.claim("lane", 30)
            assert not over
            if end == "succeed":
                await store.succeed(id, 1, [jobs.file(id)], {"seed": 7}, 1.5)
            elif end == "fail":
                await store.fail(id, 1, {"code": "x"}, 0.5)
            else:
                await store.cancel("ann", id)
            assert over == [await store.record("ann", id)]
            over.clear()
            await store.cancel("ann", id)
            assert not await store.succeed(id, 9, [], {}, 1.0)
            assert not over

    run(story)


def test_a_write_is_finished_though_its_caller_goes_away(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        told: list[str] = []
        store.wake = told.append
        for turns in range(12):
            asked = asyncio.create_task(store.submit(jobs.submission(), jobs.wide))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        await reached(lambda: len(told) == 11)  # the first was canceled before it began
        assert (await store.backlog()).queued == 11

    run(story)


def test_closing_waits_for_what_was_begun(url: str, jobs: Any) -> None:
    async def story() -> None:
        store = await Store.open(url)
        asked = [asyncio.create_task(store.submit(jobs.submission(), jobs.wide)) for _ in range(5)]
        await asyncio.sleep(0)
        await store.close()
        ids = {(await one).record.id for one in asked}
        store = await Store.open(url)
        assert {record.id for record in await store.records("ann", limit=10)} == ids
        await store.close()

    asyncio.run(story())


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_numbers_beyond_a_column_are_refused_in_words(run: Any, value: int) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(InvalidRequest):
            await store.events("x", value)
        await store.ping()

    run(story)


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_database_takes_is_refused_in_words(run: Any, text: str) -> None:
    async def story(store: Store) -> None:
        for asked in (store.record(text, "x"), store.record("ann", text), store.file(text)):
            with pytest.raises(InvalidRequest):
                await asked
        with pytest.raises(InvalidRequest):
            await store.records("ann", limit=5, search=text)
        await store.ping()

    run(story)


async def life(store: Store, jobs: Any, accepted: list[str], errors: list[LinocutError]) -> None:
    """Submits, claims and finishes for ever; notes what was acknowledged and what went wrong."""
    while True:
        try:
            sent = await store.submit(jobs.submission(), jobs.wide)
            accepted.append(sent.record.id)
            record = await store.claim("lane", 60)
            if record is not None:
                await store.append(record.id, record.fence, [("progress", {})])
                await store.succeed(record.id, record.fence, [], {}, 1.0)
            await store.backlog()
        except LinocutError as error:
            errors.append(error)
            await asyncio.sleep(0.02)


async def reached(what: Any, *, seconds: float = 60) -> None:
    """Until `what()` holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_that_restarts_costs_nothing_but_patience(
    own_postgresql: Any, jobs: Any, mode: str
) -> None:
    accepted: list[str] = []
    errors: list[LinocutError] = []

    async def story() -> None:
        store = await Store.open(own_postgresql.url("linocut"))
        lives = [asyncio.create_task(life(store, jobs, accepted, errors)) for _ in range(4)]
        await reached(lambda: len(accepted) > 10)
        await asyncio.to_thread(own_postgresql.stop, mode)
        await reached(lambda: len(errors) > 8)
        await asyncio.to_thread(own_postgresql.start)
        before = len(accepted)
        await reached(lambda: len(accepted) > before + 20)
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await store.close()  # what was begun is finished
        assert {type(error) for error in errors} == {Unavailable}
        store = await Store.open(own_postgresql.url("linocut"))
        history = await store.records("ann", limit=100_000)
        stories = {record.id: await jobs.kinds(store, record.id) for record in history}
        await store.close()
        assert set(accepted) <= set(stories)
        for record in history:
            told = stories[record.id]
            assert told.count("completed") == (record.state is State.SUCCESS)

    asyncio.run(story())


def test_a_postgresql_that_hangs_or_only_reads_is_unavailable(postgresql: Any, jobs: Any) -> None:
    url = postgresql.new()

    async def story() -> None:
        store = await Store.open(url)
        store._database.deadline = 0.5
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE records, turns IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(Unavailable):
                await store.backlog()
            with pytest.raises(Unavailable):
                await store.submit(jobs.submission(), jobs.wide)
        store._database.deadline = 60
        assert await store.submit(jobs.submission(), jobs.wide)
        name = url.rpartition("/")[2]
        postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        postgresql.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        )
        assert (await store.backlog()).queued == 1
        with pytest.raises(Unavailable, match="cannot be written"):
            await store.ping()
        with pytest.raises(Unavailable, match="cannot be written"):
            await store.submit(jobs.submission(), jobs.wide)
        await store.close()

    asyncio.run(story())
