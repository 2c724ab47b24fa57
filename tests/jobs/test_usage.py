"""Worker seconds by key and day; on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from linocut.jobs.schema import records, usage
from linocut.jobs.store import Store


def test_seconds_belong_to_the_key_and_add_up(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        assert await store.used_seconds("a") == 0.0
        for key, estimate in (("a", 1.5), ("a", 2.25), ("b", 4.0)):
            await store.submit(jobs.submission(key_id=key, estimate=estimate), jobs.wide)
        assert await store.used_seconds("a") == 3.75
        assert await store.used_seconds("b") == 4.0

    run(story)


def test_a_record_pays_on_the_day_on_which_it_came(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.submit(jobs.submission(), jobs.wide)
        await jobs.change(store, update(records).values(day=records.c.day - 1))
        await jobs.change(store, update(usage).values(day=usage.c.day - 1))
        await store.submit(jobs.submission(), jobs.wide)
        assert await store.used_seconds("ann-key") == 2.0
        record = await store.claim("lane", 30)
        assert record is not None
        await store.succeed(record.id, 1, [], {}, 0.5)
        rows = await jobs.select_all(store, select(usage).order_by(usage.c.day))
        assert [(row.reserved_ms, row.used_ms) for row in rows] == [(0, 500), (2000, 0)]

    run(story)


def test_days_of_last_year_are_forgotten(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        for key, back in (("old", 401), ("new", 399)):
            await store.submit(jobs.submission(key_id=key), jobs.wide)
            aged = update(usage).where(usage.c.key_id == key)
            await jobs.change(store, aged.values(day=usage.c.day - back))
        await store.tidy()
        assert [row.key_id for row in await jobs.select_all(store, select(usage))] == ["new"]

    run(story)
