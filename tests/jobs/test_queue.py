"""Turns, leases, fences and second attempts, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from sqlalchemy import update

from linocut.jobs.record import State
from linocut.jobs.schema import records
from linocut.jobs.store import Store

ERROR = {"code": "worker_failed", "message": "it crashed", "hint": ""}


def test_a_claimed_record_is_processing_under_its_first_fence(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = await store.submit(jobs.submission(), jobs.wide)
        record = await store.claim("lane", 30)
        assert record is not None
        assert (record.id, record.state) == (sent.record.id, State.PROCESSING)
        assert (record.attempt, record.fence) == (1, 1)
        assert record.started_at is not None
        assert record.started_at >= record.created_at
        assert await store.claim("lane", 30) is None
        assert await jobs.kinds(store, record.id) == ["queued"]

    run(story)


def test_keys_take_turns_and_within_a_key_the_oldest_goes_first(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        for number in range(3):
            await store.submit(jobs.submission(f"a{number}", key_id="a"), jobs.wide)
        for key in "bc":
            await store.submit(jobs.submission(f"{key}0", key_id=key), jobs.wide)
        order = []
        for _ in range(5):
            record = await store.claim("lane", 30)
            assert record is not None
            order.append(record.order.request.prompt)
            await store.succeed(record.id, record.fence, [], {}, 1.0)
            await asyncio.sleep(0.002)  # "served longest ago" is told in milliseconds
        assert order == ["a0", "b0", "c0", "a1", "a2"]

    run(story)


def test_a_key_with_less_running_goes_first(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        for number in range(4):
            await store.submit(jobs.submission(f"a{number}", key_id="a"), jobs.wide)
        assert await store.claim("lane", 30)
        assert await store.claim("lane", 30)
        await store.submit(jobs.submission("b0", key_id="b"), jobs.wide)
        await store.submit(jobs.submission("b1", key_id="b"), jobs.wide)
        claimed = [await store.claim("lane", 30) for _ in range(3)]
        prompts = [record.order.request.prompt for record in claimed if record]
        assert prompts[:2] == ["b0", "b1"]

    run(story)


def test_eight_claimers_never_get_the_same_record(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = [
            (await store.submit(jobs.submission(key_id=f"k{n % 3}"), jobs.wide)).record.id
            for n in range(40)
        ]

        async def claimer(name: str) -> list[str]:
            got = []
            while record := await store.claim(name, 30):
                got.append(record.id)
            return got

        claimed = await asyncio.gather(*(claimer(f"lane {n}") for n in range(8)))
        assert Counter(id for got in claimed for id in got) == Counter(sent)

    run(story)


def test_a_stale_fence_writes_nothing(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        id = (await store.submit(jobs.submission(), jobs.wide)).record.id
        first = await store.claim("slow", 0.0)
        assert first is not None
        await asyncio.sleep(0.01)
        assert await store.expire_leases(3) == 1
        second = await store.claim("quick", 30)
        assert second is not None
        assert (second.id, second.fence, second.attempt) == (id, 2, 2)
        told = await jobs.kinds(store, id)
        for fence in (first.fence, second.fence + 1):
            assert not await store.heartbeat(id, fence, 30)
            assert not await store.append(id, fence, [("progress", {})])
            assert not await store.succeed(id, fence, [jobs.file()], {}, 9.0)
            assert not await store.fail(id, fence, ERROR, 9.0)
            await store.settle(replace(first, fence=fence), 9.0)
            assert await release(store, id, fence) is None
        assert await store.record("ann", id) == second
        assert await jobs.kinds(store, id) == told
        assert await store.file("images/apple.webp") is None
        assert await store.used_seconds("ann-key") == 2.0

    run(story)


async def release(store: Store, id: str, fence: int, **said: Any) -> State | None:
    """As a dispatcher does after a crash."""
    plain: dict[str, Any] = {"counted": True, "delay": 0, "error": ERROR, "max_attempts": 3}
    return await store.release(id, fence, **(plain | said))


def test_a_lease_that_is_kept_does_not_run_out(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.submit(jobs.submission(), jobs.wide)
        record = await store.claim("lane", 0.0)
        assert record is not None
        assert await store.heartbeat(record.id, record.fence, 60)
        await asyncio.sleep(0.01)
        assert await store.expire_leases(3) == 0
        # It was found lost, and renewed before anything was done about it.
        assert not await store._give_up(record.id, record.fence, 3)
        assert await store.record("ann", record.id) == record

    run(story)


def test_a_record_whose_lease_runs_out_every_time_is_quarantined(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        id = (await store.submit(jobs.submission(), jobs.wide)).record.id
        for attempt in (1, 2, 3):
            record = await store.claim("lane", 0.0)
            assert record is not None
            assert record.attempt == attempt
            await asyncio.sleep(0.01)
            assert await store.expire_leases(3) == 1
        ended = await store.record("ann", id)
        assert ended is not None
        assert ended.state is State.FAILURE
        assert ended.error is not None
        assert ended.error["code"] == "worker_failed"
        assert await jobs.kinds(store, id) == ["queued", "queued", "queued", "failed"]
        assert await store.claim("lane", 30) is None
        assert await store.used_seconds("ann-key") == 0.0

    run(story)


def test_a_run_that_is_given_back_counts_no_attempt(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.submit(jobs.submission(), jobs.wide)
        for fence in range(1, 6):
            record = await store.claim("lane", 30)
            assert record is not None
            assert (record.attempt, record.fence) == (1, fence)
            state = await release(store, record.id, fence, counted=False, max_attempts=1)
            assert state is State.QUEUED

    run(story)


def test_a_released_record_waits_for_its_time(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.submit(jobs.submission(), jobs.wide)
        record = await store.claim("lane", 30)
        assert record is not None
        assert await release(store, record.id, record.fence, delay=3600) is State.QUEUED
        assert await store.claim("lane", 30) is None
        await jobs.change(store, update(records).values(run_at=0))
        again = await store.claim("lane", 30)
        assert again is not None
        assert (again.attempt, again.fence) == (2, 2)

    run(story)


def test_the_last_attempt_ends_with_the_error_it_was_given(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        id = (await store.submit(jobs.submission(), jobs.wide)).record.id
        record = await store.claim("lane", 30)
        assert record is not None
        assert await release(store, id, record.fence, max_attempts=1) is State.FAILURE
        ended = await store.record("ann", id)
        assert ended is not None
        assert (ended.error, ended.seconds) == (ERROR, 0.0)
        assert (await store.events(id, 1))[0].data == ERROR

    run(story)


def test_the_place_counts_turns_and_not_only_arrivals(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = [await store.submit(jobs.submission(key_id="a"), jobs.wide) for _ in range(5)]
        assert [one.place for one in sent] == [1, 2, 3, 4, 5]
        other = await store.submit(jobs.submission(key_id="b"), jobs.wide)
        assert other.place == 2
        ids = [one.record.id for one in (*sent, other)]
        assert [await store.place(id) for id in ids] == [1, 3, 4, 5, 6, 2]
        await store.claim("lane", 30)
        assert [await store.place(id) for id in ids] == [0, 1, 3, 4, 5, 2]
        assert await store.place("nothing") == 0

    run(story)


def test_the_backlog_adds_up_estimates(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> tuple[Any, Any]:
        before = await store.backlog()
        for estimate in (1.5, 2.25, 4.0):
            await store.submit(jobs.submission(estimate=estimate), jobs.wide)
        await store.claim("lane", 30)
        return before, await store.backlog()

    before, after = run(story)
    assert (before.queued, before.processing, before.seconds) == (0, 0, 0.0)
    assert (after.queued, after.processing, after.seconds) == (2, 1, 7.75)


def test_events_of_one_record_have_no_gap_under_concurrency(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.submit(jobs.submission(), jobs.wide)
        record = await store.claim("lane", 30)
        assert record is not None

        async def teller(n: int) -> None:
            for step in range(4):
                assert await store.append(
                    record.id, 1, [("progress", {"n": n, "step": step}), ("preview", {})]
                )

        await asyncio.gather(*(teller(n) for n in range(6)))
        told = await jobs.kinds(store, record.id)
        assert len(told) == 1 + 6 * 4 * 2
        steps = [e.data for e in await store.events(record.id, 0) if e.kind == "progress"]
        for n in range(6):
            assert [data["step"] for data in steps if data["n"] == n] == [0, 1, 2, 3]

    run(story)
