"""A dispatcher that leaves: what runs is finished or goes back, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from linocut.jobs.record import Record, State
from linocut.jobs.runs import Timing

Open = Callable[..., AbstractAsyncContextManager[Any]]


def test_a_leaving_server_finishes_what_runs_and_claims_no_more(studio: Open, hands: Any) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand) as s:
            ids = [await s.ask(), await s.ask()]
            await hand.waits.wait()
            leaving = asyncio.create_task(s.dispatcher.drain(600))
            await asyncio.sleep(0)
            hand.go.set()
            await leaving
            assert await s.states(ids) == [(State.SUCCESS, 1), (State.QUEUED, 0)]
            assert len(hand.jobs) == 1
            await s.running

    asyncio.run(story())


def test_what_does_not_finish_in_time_goes_back_as_if_never_begun(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand) as s:
            ids = [await s.ask(), await s.ask()]
            await hand.waits.wait()
            await s.dispatcher.drain(0.05)
            assert await s.states(ids) == [(State.QUEUED, 0), (State.QUEUED, 0)]
            assert (await jobs.kinds(s.store, ids[0]))[-1] == "queued"
            assert s.files() == []
            await s.running
            again = await s.store.claim("the next server", 600)
            assert again is not None
            assert (again.id, again.attempt, again.fence) == (ids[0], 1, 2)

    asyncio.run(story())


@pytest.mark.parametrize("is_asked", [False, True])
def test_what_runs_is_known_once_what_is_being_claimed_is(
    studio: Open, hands: Any, is_asked: bool
) -> None:
    async def story() -> None:
        async with studio(hands.Hand()) as s:
            await s.waits()
            looks, may_find = asyncio.Event(), asyncio.Event()
            claim = s.store.claim

            async def slow(lane: str, lease: float) -> Record | None:
                looks.set()
                await may_find.wait()
                return await claim(lane, lease)

            s.store.claim = slow  # type: ignore[method-assign]
            s.store.offer = lambda: None
            if is_asked:
                await s.ask()
            await looks.wait()
            assert [one.state for one in s.supervisor.conditions()] == ["busy"]
            leaving = asyncio.create_task(s.dispatcher.settle())
            await asyncio.sleep(0.01)
            assert not leaving.done()
            may_find.set()
            assert await leaving is is_asked
            await s.dispatcher.drain(0)

    asyncio.run(story())


def test_what_is_just_being_claimed_goes_back_too(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.Hand(), timing=Timing(poll=60.0)) as s:
            await s.waits()
            asked, may_answer = asyncio.Event(), asyncio.Event()
            claim = s.store.claim

            async def slow(lane: str, lease: float) -> Record | None:
                record = await claim(lane, lease)
                asked.set()
                await may_answer.wait()
                return record

            s.store.claim = slow  # type: ignore[method-assign]
            s.store.offer = lambda: None
            id = await s.ask()
            await asked.wait()
            leaving = asyncio.create_task(s.dispatcher.drain(0))
            await asyncio.sleep(0.01)
            may_answer.set()
            await leaving
            assert await s.states([id]) == [(State.QUEUED, 0)]

    asyncio.run(story())


def test_what_is_just_being_claimed_as_it_comes_in_goes_back_too(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.Hand(), timing=Timing(poll=60.0)) as s:
            await s.waits()
            written, may_answer = asyncio.Event(), asyncio.Event()
            write = s.store._database.write

            async def slow(work: Any) -> Any:
                s.store._database.write = write
                answer = await write(work)
                written.set()
                await may_answer.wait()
                return answer

            s.store._database.write = slow
            asking = asyncio.create_task(s.ask())
            await written.wait()
            leaving = asyncio.create_task(s.dispatcher.drain(0))
            await asyncio.sleep(0.01)
            assert not leaving.done()
            may_answer.set()
            id = await asking
            await leaving
            assert await s.states([id]) == [(State.QUEUED, 0)]
            assert s.store.offer() is None, "a server that leaves claims nothing more"

    asyncio.run(story())


def test_a_lane_without_a_worker_is_not_waited_for(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.Unborn()) as s:
            id = await s.ask()
            await s.dispatcher.drain(3600)
            assert await s.states([id]) == [(State.QUEUED, 0)]
            await s.running

    asyncio.run(story())


def test_a_server_leaves_even_if_its_database_has_left(studio: Open, hands: Any, jobs: Any) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand) as s:
            id = await s.ask()
            await hand.waits.wait()
            fault = jobs.fault(s.store, "release")
            await s.dispatcher.drain(0)
            await s.running
            assert fault.calls > 1
            assert await s.states([id]) == [(State.PROCESSING, 1)]  # its lease will run out

    asyncio.run(story())


def test_a_picture_that_is_being_recorded_is_kept_by_who_leaves(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand()) as s:
            succeed, done = s.store.succeed, asyncio.Event()

            async def slow(*said: Any, **named: Any) -> bool:
                answer = await succeed(*said, **named)
                done.set()
                await asyncio.Event().wait()
                return answer

            s.store.succeed = slow  # type: ignore[assignment]
            id = await s.ask()
            await done.wait()
            await s.dispatcher.drain(0)
            record = await s.record(id)
            assert record.state is State.SUCCESS
            assert await s.pictures.size(record.result_keys[0]) > 0

    asyncio.run(story())
