"""A dispatcher and its idle workers: what comes is claimed as it comes, or heard at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from linocut.jobs.record import State
from linocut.jobs.runs import Timing

Open = Callable[..., AbstractAsyncContextManager[Any]]


def test_a_worker_is_idle_while_nothing_is_to_be_drawn(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=600.0)) as s:
            await s.waits()
            assert (await s.ended(await s.ask())).state is State.SUCCESS

            async def is_idle() -> bool:
                return [one.state for one in s.supervisor.conditions()] == ["idle"]

            await hands.until(is_idle)

    asyncio.run(story())


def test_what_comes_while_a_lane_looks_is_not_missed(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=600.0)) as s:
            await s.waits()
            s.store.offer = lambda: None
            claim, ids = s.store.claim, []

            async def late(lane: str, lease: float) -> Any:
                found = await claim(lane, lease)
                if not ids:
                    ids.append(await s.ask())
                return found

            s.store.claim = late
            first = await s.ask()
            assert (await s.ended(first)).state is State.SUCCESS

            async def is_asked() -> bool:
                return bool(ids)

            await hands.until(is_asked)
            assert (await s.ended(ids[0])).state is State.SUCCESS

    asyncio.run(story())


def test_what_comes_to_an_idle_worker_is_claimed_as_it_comes(studio: Open, hands: Any) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand, timing=Timing(poll=600.0)) as s:
            await s.waits()
            claims = s.jobs.fault(s.store, "claim", 0)
            id = await s.ask()
            assert await s.states([id]) == [(State.PROCESSING, 1)]
            behind = await s.ask()
            await hand.waits.wait()
            assert await s.states([id, behind]) == [(State.PROCESSING, 1), (State.QUEUED, 0)]
            assert claims.calls == 0
            hand.go.set()
            assert (await s.ended(id)).state is State.SUCCESS
            assert (await s.ended(behind)).state is State.SUCCESS
            await s.idle()

    asyncio.run(story())


def test_a_worker_that_is_lost_with_what_it_was_offered_is_replaced(
    studio: Open, hands: Any
) -> None:
    async def story() -> None:
        quick = Timing(poll=0.05, retry_delay=0.0, max_attempts=2)
        async with studio(hands.child(), timing=quick) as s:
            await s.waits()
            id = await s.ask("an apple [crash]")
            assert await s.states([id]) == [(State.PROCESSING, 1)]
            record = await s.ended(id)
            assert (record.state, record.attempt) == (State.FAILURE, 2)
            assert (await s.ended(await s.ask())).state is State.SUCCESS

    asyncio.run(story())


def test_the_end_of_a_run_is_not_read_again_by_who_watches_it(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=600.0, heartbeat=1e6)) as s:
            await s.waits()
            read = s.jobs.fault(s.store, "record", 0)
            await s.ask()
            await s.idle()
            assert read.calls == 0

    asyncio.run(story())
