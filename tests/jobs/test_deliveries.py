"""Webhooks that wait to be sent; on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy import select, update

from linocut.jobs.deliveries import receiver_of
from linocut.jobs.schema import deliveries
from linocut.jobs.store import Store


async def canceled(store: Store, jobs: Any, count: int) -> list[str]:
    """The ids of records that were canceled, and whose sender wants to hear of it."""
    ids = []
    for _ in range(count):
        sent = await store.submit(jobs.submission(webhook="https://a.test/hook"), jobs.wide)
        await store.cancel("ann", sent.record.id)
        ids.append(sent.record.id)
    return ids


def test_a_delivery_says_what_and_where(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        (id,) = await canceled(store, jobs, 1)
        (due,) = await store.due_deliveries(10)
        assert (due.record_id, due.tenant, due.event) == (id, "ann", "canceled")
        assert (due.url, due.attempt) == ("https://a.test/hook", 1)

    run(story)


def test_what_one_has_taken_nobody_else_gets_until_its_minute_is_over(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        ids = await canceled(store, jobs, 9)
        taken = await asyncio.gather(*(store.due_deliveries(2) for _ in range(8)))
        assert sorted(due.record_id for some in taken for due in some) == sorted(ids)
        assert await store.due_deliveries(10) == []
        run_at = deliveries.c.run_at
        await jobs.change(store, update(deliveries).values(run_at=run_at - 59_000))
        assert await store.due_deliveries(10) == []
        await jobs.change(store, update(deliveries).values(run_at=run_at - 60_000))
        again = await store.due_deliveries(10)
        assert {due.id for due in again} == {due.id for some in taken for due in some}
        assert {due.attempt for due in again} == {2}

    run(story)


def test_receivers_that_have_enough_are_left_out(run: Any, jobs: Any) -> None:
    left_out = ("https://a_b.test/hook", "https://a_b.test", "https://a_b.test/x?y=https://c.test/")
    others = (
        "https://a_b.tester/",
        "https://a_b.test:8443/",
        "https://axb.test/",
        "http://a_b.test",
    )

    async def story(store: Store) -> None:
        for url in (*left_out, *others):
            sent = await store.submit(jobs.submission(webhook=url), jobs.wide)
            await store.cancel("ann", sent.record.id)
        (receiver,) = {receiver_of(url) for url in left_out}
        due = await store.due_deliveries(10, [receiver])
        assert {one.url for one in due} == set(others)
        assert {one.url for one in await store.due_deliveries(10)} == set(left_out)

    run(story)


def test_what_arrived_or_was_given_up_is_never_sent_again(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await canceled(store, jobs, 2)
        first, second = await store.due_deliveries(10)
        await store.delivered(first.id)
        await store.retry_delivery(second.id, 0, "410 Gone", give_up=True)
        await store.retry_delivery(first.id, 0, "late news", give_up=False)
        await jobs.change(store, update(deliveries).values(run_at=0))
        assert await store.due_deliveries(10) == []
        rows = await jobs.select_all(store, select(deliveries).order_by(deliveries.c.id))
        assert [(row.state, row.last_error) for row in rows] == [
            ("SENT", ""),
            ("GIVEN_UP", "410 Gone"),
        ]
        await jobs.change(store, update(deliveries).values(created_at=0))
        await store.tidy()
        assert await jobs.select_all(store, select(deliveries)) == []

    run(story)


def test_what_failed_comes_again_after_its_delay_under_the_same_id(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await canceled(store, jobs, 1)
        (first,) = await store.due_deliveries(10)
        await store.retry_delivery(first.id, 3600, "\0\ud800" + "x" * 1000, give_up=False)
        assert await store.due_deliveries(10) == []
        (row,) = await jobs.select_all(store, select(deliveries))
        assert row.last_error.startswith("?xxx")
        assert len(row.last_error) < 510
        await store.retry_delivery(first.id, 0, "again", give_up=False)
        (second,) = await store.due_deliveries(10)
        assert (second.id, second.attempt) == (first.id, 2)
        await jobs.change(store, update(deliveries).values(created_at=0))
        await store.tidy()
        assert len(await jobs.select_all(store, select(deliveries))) == 1

    run(story)
