"""The database's clock, on both databases."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from linocut.jobs.clock import DAY, millis, now, seconds, seconds_or_none
from linocut.jobs.store import Store


def test_the_clock_tells_whole_milliseconds_of_now(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        before = time.time_ns() // 1_000_000
        ((told,),) = await jobs.select_all(store, select(now()))
        after = time.time_ns() // 1_000_000
        assert isinstance(told, int)
        assert before - 2 <= told <= after + 2

    run(story)


def test_the_clock_goes_on_within_a_transaction(run: Any) -> None:
    async def story(store: Store) -> None:
        async def work(connection: Any) -> tuple[int, int]:
            first = await connection.scalar(select(now()))
            deadline = time.monotonic() + 30
            while (later := await connection.scalar(select(now()))) == first:
                assert time.monotonic() < deadline
            return first, later

        first, later = await store._database.read(work)
        assert later > first

    run(story)


@given(st.integers(0, 2**50))
def test_milliseconds_survive_as_seconds(ms: int) -> None:
    assert millis(seconds(ms)) == ms
    assert seconds_or_none(ms) == seconds(ms)
    assert seconds_or_none(None) is None
    assert millis(86_400) == DAY
