"""A dispatcher whose picture store gives no answer: runs end, leases are kept, others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from far_peer import SILENCES, FarStore, Peer, a_peer

from linocut.images.bounded import BoundedStore
from linocut.jobs.record import State
from linocut.jobs.runs import Timing

Open = Callable[..., AbstractAsyncContextManager[Any]]
SOON = 0.3  # seconds of a store that is to be given up
LATE = 60.0  # seconds of one that is to answer


@pytest.fixture(params=SILENCES)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """One that accepts and never answers, and one that drips."""
    with a_peer(request.param) as peer:
        yield peer


def test_a_picture_that_no_store_takes_fails_its_record_which_kept_its_lease(
    studio: Open, hands: Any, jobs: Any, peer: Peer
) -> None:
    hand = hands.quick_hand()
    timing = Timing(lease=5.0, heartbeat=0.05, poll=0.05, storage_patience=1.0)

    async def story() -> None:
        async with studio(hand, timing=timing) as s:
            s.dispatcher.runs.pictures = BoundedStore(FarStore(peer.address), SOON)
            beats = jobs.fault(s.store, "heartbeat", 0)
            record = await s.ended(await s.ask())
            assert (record.state, record.attempt, len(hand.jobs)) == (State.FAILURE, 1, 1)
            assert record.error is not None
            assert record.error["code"] == "storage_unavailable"
            assert "gave no answer" in record.error["message"]
            assert (beats.calls > 1, peer.asked > 1) == (True, True)
            assert (await jobs.kinds(s.store, record.id)).count("started") == 1
            await s.idle()
            peer.answers = True
            s.dispatcher.runs.pictures.seconds = LATE
            assert (await s.ended(await s.ask())).state is State.SUCCESS

    asyncio.run(story())


def test_a_picture_is_stored_once_the_store_answers_again(
    studio: Open, hands: Any, peer: Peer
) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            far = FarStore(peer.address)
            s.dispatcher.runs.pictures = BoundedStore(far, SOON)
            id = await s.ask()

            async def is_asked_again() -> bool:
                return peer.asked >= 2

            await hands.until(is_asked_again)
            s.dispatcher.runs.pictures.seconds = LATE
            peer.answers = True
            record = await s.ended(id)
            assert (record.state, record.attempt, len(hand.jobs)) == (State.SUCCESS, 1, 1)
            assert list(far.kept) == list(record.result_keys)

    asyncio.run(story())


def test_a_reference_that_no_store_gives_fails_the_record_before_anything_is_drawn(
    studio: Open, hands: Any, peer: Peer
) -> None:
    hand = hands.quick_hand()
    timing = Timing(poll=0.05, storage_patience=0.5)

    async def story() -> None:
        async with studio(hand, timing=timing) as s:
            s.dispatcher.runs.pictures = BoundedStore(FarStore(peer.address), SOON)
            record = await s.ended(await s.ask(reference_keys=("images/cat.webp",)))
            assert record.error is not None
            assert (record.state, record.error["code"]) == (State.FAILURE, "storage_unavailable")
            assert hand.jobs == []

    asyncio.run(story())


class Forgetful:
    """The studio's own store, but for the first put, which is never answered."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.hangs = inner, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def put(self, key: str, data: bytes) -> None:
        if not self.hangs.is_set():
            self.hangs.set()
            await asyncio.Event().wait()
        await self.inner.put(key, data)


def test_while_one_put_hangs_others_are_drawn_and_stored(studio: Open, hands: Any) -> None:
    several = [hands.quick_hand(), hands.quick_hand()]

    async def story() -> None:
        async with studio(*several) as s:
            store = Forgetful(s.pictures)
            s.dispatcher.runs.pictures = BoundedStore(store, LATE)
            first = await s.ask()
            await store.hangs.wait()
            others = [await s.ask(f"apple {number}") for number in range(5)]
            assert {(await s.ended(id)).state for id in others} == {State.SUCCESS}
            assert (await s.record(first)).state is State.PROCESSING
            assert await s.store.expire_leases(3) == 0
            await s.store.cancel("ann", first)
            await s.dispatcher.drain(0.0)

    asyncio.run(story())


@pytest.mark.parametrize("seconds", [0.1, LATE])
def test_who_leaves_waits_for_no_store_longer_than_it_may(
    studio: Open, hands: Any, peer: Peer, seconds: float
) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand()) as s:
            s.dispatcher.runs.pictures = BoundedStore(FarStore(peer.address), seconds)
            id = await s.ask()
            assert await asyncio.to_thread(peer.met.wait, 60)
            async with asyncio.timeout(30):  # and not for as long as the store may take
                await s.dispatcher.drain(0.2)
            record = await s.record(id)
            assert (record.state, record.attempt) == (State.QUEUED, 0)

    asyncio.run(story())
