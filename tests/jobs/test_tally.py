"""Every record that ended is told of once, with its own numbers; on both databases."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from linocut.errors import Unavailable
from linocut.jobs import tally as tally_module
from linocut.jobs.record import Record
from linocut.jobs.store import Store
from linocut.jobs.tally import Ended, Tally


def listening(store: Store) -> tuple[Tally, list[Ended]]:
    """A tally that hears of every change, and what it has told."""
    told: list[Ended] = []
    tally = Tally(store, told.append)
    store.wake = tally.note
    return tally, told


async def claimed(store: Store, jobs: Any, **said: Any) -> Record:
    """A record that runs."""
    await store.submit(jobs.submission(**said), jobs.wide)
    record = await store.claim("lane", 30)
    assert record is not None
    return record


def test_each_way_to_end_is_told_once(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        tally, told = listening(store)
        good, bad, left = [await claimed(store, jobs) for _ in "123"]
        waits = (await store.submit(jobs.submission(), jobs.wide)).record
        await tally.count()
        assert told == []
        timings = {"timings": {"denoising": 1.4}}
        await store.succeed(good.id, good.fence, [jobs.file()], timings, 2.5)
        await store.fail(bad.id, bad.fence, {"code": "x", "message": "x"}, 1.0)
        await store.cancel("ann", left.id)
        await store.cancel("ann", waits.id)
        for _ in "12":
            await tally.count()
        assert Counter(one.state for one in told) == {"SUCCESS": 1, "FAILURE": 1, "CANCELED": 2}
        (drawn,) = [one for one in told if one.state == "SUCCESS"]
        assert (drawn.ran, drawn.stored) == (2.5, 1000)
        assert drawn.per_step == pytest.approx(1.4 / 28)
        assert drawn.waited is not None
        (never,) = [one for one in told if one.id == waits.id]
        assert (never.waited, never.ran, never.stored, never.per_step) == (None, 0, 0, None)

    run(story)


def test_what_happens_to_it_later_is_no_second_end(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        tally, told = listening(store)
        record = await claimed(store, jobs)
        await store.cancel("ann", record.id)
        await tally.count()
        await store.settle(record, 1.0)
        await store.star("ann", record.id, starred=True)
        await tally.count()
        assert len(told) == 1

    run(story)


def test_what_ended_before_is_not_told(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        await store.cancel("ann", record.id)
        await asyncio.sleep(0.01)
        tally, told = listening(store)
        await store.star("ann", record.id, starred=True)
        await tally.count()
        assert told == []

    run(story)


@pytest.mark.parametrize("hours", [-1, 1])
def test_the_databases_clock_counts_and_not_the_servers(
    url: str, jobs: Any, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + hours * 3600)

    async def story() -> None:
        store = await Store.open(url)
        try:
            before = await claimed(store, jobs)
            await store.cancel("ann", before.id)
            await asyncio.sleep(0.01)
            tally, told = listening(store)
            assert store.time() == pytest.approx(right(), abs=60)
            after = await claimed(store, jobs)
            await store.cancel("ann", after.id)
            await store.star("ann", before.id, starred=True)
            await tally.count()
            assert [one.id for one in told] == [after.id]
        finally:
            await store.close()

    asyncio.run(story())


def test_steps_that_were_left_out_are_not_counted(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        tally, told = listening(store)
        new = jobs.submission(reference_keys=("a.png",))
        request = replace(new.order.request, num_inference_steps=10, prompt_strength=0.5)
        await store.submit(replace(new, order=replace(new.order, request=request)), jobs.wide)
        record = await store.claim("lane", 30)
        assert record is not None
        await store.succeed(record.id, record.fence, [], {"timings": {"denoising": 1.0}}, 1.0)
        await tally.count()
        assert [one.per_step for one in told] == [pytest.approx(0.2)]

    run(story)


def test_a_database_that_is_away_loses_no_count(
    run: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_module, "PAGE", 2)

    async def story(store: Store) -> None:
        tally, told = listening(store)
        for _ in range(5):
            record = await claimed(store, jobs)
            await store.cancel("ann", record.id)
        asks = 0
        ended = store.ended

        async def away(ids: Any, since: float) -> Any:
            nonlocal asks
            asks += 1
            if asks == 2:
                raise Unavailable("away", retry_after=1)
            return await ended(ids, since)

        monkeypatch.setattr(store, "ended", away)
        with pytest.raises(Unavailable):
            await tally.count()
        await tally.count()
        assert len(told) == len({one.id for one in told}) == 5

    run(story)


def test_it_counts_by_itself_now_and_then(
    run: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally_module, "EVERY", 0.01)

    async def story(store: Store) -> None:
        tally, told = listening(store)
        record = await claimed(store, jobs)
        await store.cancel("ann", record.id)
        counting = asyncio.create_task(tally.run())
        async with asyncio.timeout(60):
            while not told:  # noqa: ASYNC110 - it tells a list
                await asyncio.sleep(0.01)
        counting.cancel()

    run(story)


def test_any_number_of_records_is_asked_for_in_few_statements(run: Any) -> None:
    asked: set[str] = set()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.add(statement)

    async def story(store: Store) -> None:
        event.listen(Engine, "before_cursor_execute", note)
        try:
            for count in range(1, 65):
                assert await store.ended([str(number) for number in range(count)], 0.0) == []
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    run(story)
    assert len(asked) == 7, "for 1, 2, 4, 8, 16, 32 and 64"
