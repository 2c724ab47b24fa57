"""A dispatcher whose disk or database is away: no picture is lost, and none is drawn twice."""

from __future__ import annotations

import asyncio
import errno
import math
import os
import stat
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from linocut.errors import ContentRefused, StorageUnavailable, Unavailable
from linocut.jobs.record import State
from linocut.jobs.runs import Timing

Open = Callable[..., AbstractAsyncContextManager[Any]]
AWAY = StorageUnavailable("the disk is away", retry_after=1)


def test_a_picture_waits_for_the_disk_and_is_drawn_once(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            fault = jobs.fault(s.pictures, "put", 3, error=AWAY)
            record = await s.ended(await s.ask())
            assert (record.state, record.attempt) == (State.SUCCESS, 1)
            assert (fault.calls, len(hand.jobs)) == (4, 1)
            assert await s.pictures.read(record.result_keys[0]) == b"a picture of " + (
                record.id.encode()
            )

    asyncio.run(story())


@pytest.mark.parametrize("is_deaf", [False, True], ids=["not-stored", "answer-lost"])
def test_a_disk_that_stays_away_fails_the_record_and_leaves_no_file(
    studio: Open, hands: Any, jobs: Any, is_deaf: bool
) -> None:
    hand = hands.quick_hand()
    timing = Timing(poll=0.05, storage_patience=0.1)

    async def story() -> None:
        async with studio(hand, timing=timing) as s:
            jobs.fault(s.pictures, "put", error=AWAY, is_deaf=is_deaf)
            record = await s.ended(await s.ask())
            await s.idle()
            assert record.error is not None
            assert (record.state, record.error["code"]) == (State.FAILURE, "storage_unavailable")
            assert (len(hand.jobs), record.attempt, s.files()) == (1, 1, [])
            assert await s.store.used_seconds("ann-key") == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("refusals", "patience", "state"),
    [(0, 0.1, State.SUCCESS), (2, 60.0, State.SUCCESS), (1, 0.1, State.FAILURE)],
    ids=["slow", "slow-then-away-then-back", "slow-then-away-for-too-long"],
)
def test_a_slow_disk_is_waited_for_while_the_lease_is_kept(
    studio: Open, hands: Any, jobs: Any, *, refusals: int, patience: float, state: State
) -> None:
    hand = hands.quick_hand()
    timing = Timing(lease=5.0, heartbeat=0.05, poll=0.05, storage_patience=patience)

    async def story() -> None:
        async with studio(hand, timing=timing) as s:
            begun, may_end = asyncio.Event(), asyncio.Event()
            fault = jobs.fault(s.pictures, "put", refusals, error=AWAY)
            put = s.pictures.put

            async def slow(key: str, data: bytes) -> None:
                begun.set()
                await may_end.wait()
                await put(key, data)

            s.pictures.put = slow
            id = await s.ask()
            await begun.wait()
            first = await s.column(id, "lease_until")

            async def is_longer() -> bool:
                return bool(await s.column(id, "lease_until") > first + 300)

            await hands.until(is_longer)
            assert await s.store.expire_leases(3) == 0
            assert ((await s.record(id)).state, s.files()) == (State.PROCESSING, [])
            may_end.set()
            record = await s.ended(id)
            await s.idle()
            assert (record.state, record.attempt, len(hand.jobs)) == (state, 1, 1)
            assert (fault.left, len(s.files())) == (0, int(state is State.SUCCESS))
            assert record.error is None or record.error["code"] == "storage_unavailable"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("times", "patience", "state"),
    [(3, 60.0, State.SUCCESS), (math.inf, 0.5, State.FAILURE)],
    ids=["comes-back", "stays-away"],
)
@pytest.mark.parametrize("is_named", [False, True], ids=["half-written", "answer-lost"])
def test_a_disk_that_resets_in_the_middle_of_a_write_shows_no_part_of_a_picture(
    studio: Open, hands: Any, monkeypatch: pytest.MonkeyPatch, *,
    times: float, patience: float, state: State, is_named: bool,
) -> None:  # fmt: skip
    hand, flush = hands.quick_hand(), os.fsync
    timing = Timing(poll=0.05, storage_patience=patience)
    shown: list[list[bytes]] = []

    async def story() -> None:
        async with studio(hand, timing=timing) as s:

            def shaky(descriptor: int) -> None:
                is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                if is_folder is not is_named or len(shown) >= times:
                    return flush(descriptor)
                if not is_folder:
                    os.ftruncate(descriptor, 5)
                visible = [path for path in s.files() if not path.name.startswith(".")]
                shown.append([path.read_bytes() for path in visible])
                raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

            monkeypatch.setattr(os, "fsync", shaky)
            id = await s.ask()
            record = await s.ended(id)
            await s.idle()
            whole = b"a picture of " + id.encode()
            assert len(shown) >= min(times, 2)
            assert all(pictures in ([], [whole]) for pictures in shown)
            assert (record.state, record.attempt, len(hand.jobs)) == (state, 1, 1)
            left = [path.read_bytes() for path in s.files()]
            assert left == ([whole] if state is State.SUCCESS else [])
            assert record.error is None or record.error["code"] == "storage_unavailable"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "prompt", "state"),
    [
        ("succeed", "an apple", State.SUCCESS),
        ("fail", "an apple [refuse]", State.FAILURE),
        ("claim", "an apple", State.SUCCESS),
        ("append", "an apple", State.SUCCESS),
    ],
)
def test_a_database_that_is_away_is_waited_for(
    studio: Open, hands: Any, method: str, prompt: str, state: State
) -> None:
    refusal = ContentRefused("no", stage="input", category="x") if "refuse" in prompt else None
    hand = hands.quick_hand(refusal=refusal)

    async def story() -> None:
        async with studio(hand) as s:
            fault = s.jobs.fault(s.store, method, 2)
            record = await s.ended(await s.ask(prompt))
            assert (record.state, record.attempt, len(hand.jobs)) == (state, 1, 1)
            assert fault.left == 0

    asyncio.run(story())


@pytest.mark.parametrize("heartbeat", [0.01, 60.0])
def test_a_success_whose_answer_was_lost_keeps_its_picture(
    studio: Open, hands: Any, jobs: Any, heartbeat: float
) -> None:
    timing = Timing(poll=0.05, heartbeat=heartbeat)

    async def story() -> None:
        async with studio(hands.quick_hand(), timing=timing, hears=False) as s:
            fault = jobs.fault(s.store, "succeed", 1, is_deaf=True)
            id = await s.ask()
            record = await s.ended(id)
            await s.idle()
            assert (record.state, fault.left) == (State.SUCCESS, 0)
            assert await s.pictures.size(record.result_keys[0]) > 0
            assert (await jobs.kinds(s.store, id)).count("completed") == 1
            assert await s.store.used_seconds("ann-key") == 1.25

    asyncio.run(story())


def test_a_success_that_is_never_confirmed_keeps_its_picture_too(
    studio: Open, hands: Any, jobs: Any
) -> None:
    timing = Timing(poll=0.05, heartbeat=0.01, storage_patience=0.05)

    async def story() -> None:
        async with studio(hands.quick_hand(), timing=timing) as s:
            fault = jobs.fault(s.store, "succeed", is_deaf=True)
            record = await s.ended(await s.ask())
            await s.idle()
            assert await s.pictures.size(record.result_keys[0]) > 0
            fault.left = 0
            assert (await s.ended(await s.ask())).state is State.SUCCESS

    asyncio.run(story())


def test_a_bill_that_cannot_be_written_stops_nobody(studio: Open, hands: Any, jobs: Any) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand, timing=Timing(poll=0.05, storage_patience=0.0)) as s:
            fault = jobs.fault(s.store, "settle")
            id = await s.ask()
            await hand.waits.wait()
            await s.store.cancel("ann", id)
            await s.idle()
            assert fault.calls
            hand.go.set()
            assert (await s.ended(await s.ask())).state is State.SUCCESS

    asyncio.run(story())


def test_a_lost_workers_record_goes_back_when_the_database_is_there_again(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.quick_hand(is_mute=True)

    async def story() -> None:
        async with studio(hand) as s:
            fault = jobs.fault(s.store, "release", 2)
            record = await s.ended(await s.ask())
            assert (record.attempt, fault.left) == (3, 0)

    asyncio.run(story())


@pytest.mark.parametrize("method", ["fail", "release"])
def test_an_end_that_cannot_be_written_of_a_run_that_nobody_wants_stops_nobody(
    studio: Open, hands: Any, method: str
) -> None:
    refusal = ContentRefused("no", stage="output", category="x") if method == "fail" else None
    hand = hands.quick_hand(refusal=refusal, is_mute=refusal is None)

    async def story() -> None:
        async with studio(hand, timing=Timing(poll=0.05, storage_patience=0.0)) as s:
            asked = []

            async def away(*said: Any, **named: Any) -> None:
                asked.append(said)
                for run in s.dispatcher.runs.under_way:  # as if a cancel was heard in this moment
                    run.wanted = False
                raise Unavailable("it is away", retry_after=1)

            whole = getattr(s.store, method)
            setattr(s.store, method, away)
            await s.ask()

            async def is_over() -> bool:
                return bool(asked) and not s.dispatcher.runs.under_way

            await hands.until(is_over)
            setattr(s.store, method, whole)
            assert not s.running.done()
            hand.refusal, hand.is_mute = None, False
            assert (await s.ended(await s.ask())).state is State.SUCCESS

    asyncio.run(story())


def test_a_long_run_keeps_its_lease(studio: Open, hands: Any) -> None:
    hand = hands.Hand()
    timing = Timing(lease=5.0, heartbeat=0.05, poll=0.05)

    async def story() -> None:
        async with studio(hand, timing=timing) as s:
            id = await s.ask()
            await hand.waits.wait()
            first = await s.column(id, "lease_until")

            async def is_longer() -> bool:
                return bool(await s.column(id, "lease_until") > first + 300)

            await hands.until(is_longer)
            assert await s.store.expire_leases(3) == 0
            hand.go.set()
            record = await s.ended(id)
            assert (record.state, record.attempt) == (State.SUCCESS, 1)

    asyncio.run(story())


def test_a_lease_that_cannot_be_renewed_for_a_while_stops_nothing(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand, timing=Timing(heartbeat=0.01, poll=0.05)) as s:
            fault = jobs.fault(s.store, "heartbeat", 3)
            id = await s.ask()

            async def is_renewed() -> bool:
                return fault.calls > 4

            await hands.until(is_renewed)
            hand.go.set()
            assert (await s.ended(id)).state is State.SUCCESS

    asyncio.run(story())
