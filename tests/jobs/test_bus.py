"""Who listens hears; who stopped listening is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from linocut.jobs.bus import Bus
from linocut.jobs.record import Order, Record, State
from linocut.request import ImageRequest


def test_a_listener_hears_its_own_record_and_no_other() -> None:
    async def story() -> None:
        bus = Bus()
        with bus.listen("a") as ear, bus.listen("b") as other:
            bus.notify("a")
            assert await ear.wait(30)
            assert not await other.wait(0.01)
            assert not await ear.wait(0.01), "it was heard once"

    asyncio.run(story())


def test_who_does_not_follow_a_run_sleeps_while_it_goes_on() -> None:
    async def story() -> None:
        bus = Bus()
        with bus.listen("a") as follower, bus.listen("a", follows=False) as waiter:
            bus.notify_followers("a")
            assert await follower.wait(30)
            assert not await waiter.wait(0.01)
            bus.notify("a")
            assert await follower.wait(30)
            assert await waiter.wait(30)

    asyncio.run(story())


def test_what_happens_between_reading_and_waiting_is_not_missed() -> None:
    async def story() -> None:
        bus = Bus()
        with bus.listen("a") as ear:
            for _ in range(3):
                bus.notify("a")
            await asyncio.sleep(0)
            assert await ear.wait(30)

    asyncio.run(story())


def test_what_concerns_everybody_wakes_everybody() -> None:
    async def story() -> None:
        bus = Bus()
        with (
            bus.listen("a") as one,
            bus.listen("b", follows=False) as other,
            bus.listen_work() as lane,
        ):
            bus.notify_all()
            assert [await ear.wait(30) for ear in (one, other, lane)] == [True] * 3
            assert one.ended is None

    asyncio.run(story())


def test_all_who_wait_are_woken() -> None:
    async def story() -> None:
        bus = Bus()

        async def waits() -> bool:
            with bus.listen("a") as ear:
                return await ear.wait(30)

        async def works() -> bool:
            with bus.listen_work() as ear:
                return await ear.wait(30)

        waiting = [asyncio.create_task(waits()) for _ in range(5)]
        working = [asyncio.create_task(works()) for _ in range(5)]
        await asyncio.sleep(0)
        bus.notify("a")
        bus.notify_work()
        assert all(await asyncio.gather(*waiting, *working))
        assert not bus._ears

    asyncio.run(story())


def test_waiting_ends_without_news() -> None:
    async def story() -> None:
        bus = Bus()
        bus.notify("a")
        with bus.listen("a") as ear:
            assert not await ear.wait(0)
        with bus.listen_work() as ear:
            assert not await ear.wait(0.01)
            bus.notify_work()
            assert await ear.wait(30)
        assert not bus._ears

    asyncio.run(story())


def test_a_listener_that_is_canceled_is_forgotten() -> None:
    async def story() -> None:
        bus = Bus()

        async def waits() -> None:
            with bus.listen("a") as ear:
                await ear.wait(30)

        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        assert bus._ears
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not bus._ears

    asyncio.run(story())


def test_an_end_is_told_with_its_record(ended: Record) -> None:
    async def story() -> None:
        bus = Bus()
        with bus.listen(ended.id) as follower, bus.listen(ended.id, follows=False) as waiter:
            bus.notify(ended.id)
            assert await follower.wait(30)
            assert follower.ended is None
            bus.notify_end(ended)
            assert await waiter.wait(30)
            assert waiter.ended is follower.ended is ended
        with bus.listen(ended.id) as late:
            assert late.ended is None

    asyncio.run(story())


@pytest.fixture
def ended() -> Record:
    """A record at its end."""
    return Record(
        id="a", tenant="ann", key_id="k", feature="f", model="m", state=State.SUCCESS, body={},
        order=Order(request=ImageRequest(prompt="a red apple")), estimate=1.0, attempt=1, fence=1,
        starred=False, created_at=0.0,
    )  # fmt: skip
