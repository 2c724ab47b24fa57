"""A dispatcher without work: its workers are free, and what comes is heard at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from linocut.jobs.dispatcher import Timing
from linocut.jobs.record import State

Open = Callable[..., AbstractAsyncContextManager[Any]]


def test_a_worker_is_idle_while_nothing_is_to_be_drawn(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=600.0)) as s:

            async def is_idle() -> bool:
                return [one.state for one in s.supervisor.conditions()] == ["idle"]

            looked = s.jobs.fault(s.store, "claim", 0)

            async def has_looked() -> bool:
                return bool(looked.calls) and await is_idle()

            await hands.until(has_looked)
            assert (await s.ended(await s.ask())).state is State.SUCCESS
            await hands.until(is_idle)

    asyncio.run(story())


def test_what_comes_while_a_lane_looks_is_not_missed(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=600.0)) as s:
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
