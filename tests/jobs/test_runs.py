"""From the queue to the picture: what is drawn, what is lost, what is canceled."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from linocut.errors import (
    CheckFailed,
    ContentRefused,
    DoesNotFit,
    LinocutError,
    StorageUnavailable,
)
from linocut.jobs.record import State
from linocut.jobs.runs import Timing

Open = Callable[..., AbstractAsyncContextManager[Any]]
REFUSAL = ContentRefused("no", stage="output", category="x")
AWAY = StorageUnavailable("the disk is away", retry_after=1)


def test_a_picture_is_drawn_stored_and_told(studio: Open, hands: Any, jobs: Any) -> None:
    async def story() -> None:
        async with studio(hands.child()) as s:
            id = await s.ask()
            record = await s.ended(id)
            assert (record.state, record.attempt, record.error) == (State.SUCCESS, 1, None)
            (key,) = record.result_keys
            data, known = await s.pictures.read(key), await s.store.file(key)
            assert known is not None
            assert key.startswith("images/")
            assert key.endswith("_a_red_apple.webp")
            assert known.sha256 == hashlib.sha256(data).hexdigest()
            assert (known.size, known.record_id, known.kind) == (len(data), id, "result")
            with Image.open(io.BytesIO(data)) as picture:
                assert (picture.format, picture.size) == ("WEBP", (256, 256))
            assert record.result["seed"] == 7
            assert await s.store.used_seconds("ann-key") == pytest.approx(record.seconds)
            assert 0 < record.seconds == pytest.approx(record.result["seconds"], abs=0.002)
            kinds = await jobs.kinds(s.store, id)
            assert (kinds[:2], kinds[-1]) == (["queued", "started"], "completed")
            assert set(kinds[2:-1]) == {"progress"}
            told = await s.stages(id)
            assert (told[0], told[-2:]) == (("reading", 0), [("drawing", 3), ("decoding", 0)])

    asyncio.run(story())


def test_references_reach_the_worker_in_their_order(studio: Open, hands: Any) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            await s.pictures.put("two.webp", b"two")
            await s.pictures.put("one.webp", b"one")
            id = await s.ask(reference_keys=("one.webp", "two.webp"), output_format="png")
            assert (await s.ended(id)).state is State.SUCCESS
            (job,) = hand.jobs
            assert job.reference_files == (b"one", b"two")
            assert (job.id, job.output_format, job.check_safety) == (id, "png", True)

    asyncio.run(story())


def test_a_reference_that_is_gone_ends_it_before_any_worker(studio: Open, hands: Any) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            record = await s.ended(await s.ask(reference_keys=("gone.webp",)))
            assert record.error is not None
            assert (record.state, record.error["code"]) == (State.FAILURE, "not_found")
            assert hand.jobs == []
            assert await s.store.used_seconds("ann-key") == 0

    asyncio.run(story())


def test_a_reference_that_cannot_be_read_now_is_read_later(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            await s.pictures.put("one.webp", b"one")
            fault = jobs.fault(s.pictures, "read", 2, error=AWAY)
            record = await s.ended(await s.ask(reference_keys=("one.webp",)))
            assert (record.state, fault.calls) == (State.SUCCESS, 3)

    asyncio.run(story())


@pytest.mark.parametrize(("mark", "stage"), [("[refuse]", "input"), ("[refuse-output]", "output")])
def test_a_refusal_is_a_failure_that_costs_nothing(
    studio: Open, hands: Any, mark: str, stage: str
) -> None:
    async def story() -> None:
        async with studio(hands.child()) as s:
            record = await s.ended(await s.ask(f"a red apple {mark}"))
            assert (record.state, record.attempt) == (State.FAILURE, 1)
            assert record.error is not None
            assert (record.error["code"], record.error["stage"]) == ("content_moderated", stage)
            assert await s.store.used_seconds("ann-key") == 0
            assert s.files() == []
            # Without the check it is an apple like any other.
            free = await s.ended(await s.ask(f"a red apple {mark}", check_safety=False))
            assert free.state is State.SUCCESS

    asyncio.run(story())


def test_a_refusal_leaves_no_file_but_uploads(studio: Open, hands: Any, jobs: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(refusal=REFUSAL)) as s:
            for kind in ("reference", "upload"):
                await s.pictures.put(f"{kind}.webp", b"picture")
                await s.store.add_file(jobs.file(f"{kind}.webp", kind=kind))
            id = await s.ask(reference_keys=("reference.webp", "upload.webp"))
            assert (await s.ended(id)).state is State.FAILURE
            await s.has_only("upload.webp")
            known = await s.store.known_keys(["reference.webp", "upload.webp"])
            assert known == {"upload.webp"}

    asyncio.run(story())


@pytest.mark.parametrize(
    ("error", "paid"),
    [(DoesNotFit("too big"), 0.75), (REFUSAL, 0.0), (CheckFailed("my_checks:Names failed"), 0.0)],
)
def test_a_failure_pays_what_ran_unless_a_safety_check_refused_or_failed(
    studio: Open, hands: Any, error: LinocutError, paid: float
) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(refusal=error)) as s:
            record = await s.ended(await s.ask())
            assert record.error is not None
            assert record.error["code"] == error.code
            assert await s.store.used_seconds("ann-key") == paid

    asyncio.run(story())


def test_each_worker_draws_while_the_others_do(studio: Open, hands: Any) -> None:
    pair = [hands.Hand(0), hands.Hand(1)]

    async def story() -> None:
        async with studio(*pair) as s:
            ids = [await s.ask() for _ in range(4)]
            for hand in pair:
                await hand.waits.wait()
            for hand in pair:
                hand.go.set()
            ended = [await s.ended(id) for id in ids]
            assert {record.state for record in ended} == {State.SUCCESS}
            assert sorted(job.id for hand in pair for job in hand.jobs) == sorted(ids)

    asyncio.run(story())


def test_steps_that_come_too_often_are_thinned_but_never_the_last(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=0.05, progress=1e9)) as s:
            id = await s.ask()
            await s.ended(id)
            assert await s.stages(id) == [("reading", 0), ("drawing", hands.STEPS), ("decoding", 0)]

    asyncio.run(story())


def test_the_last_steps_are_written_with_the_end(studio: Open, hands: Any, jobs: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(), timing=Timing(poll=0.05, progress=1e9)) as s:
            told = jobs.fault(s.store, "append", 0)
            id = await s.ask()
            await s.ended(id)
            assert told.calls == 1, "that it was started"
            assert (await s.stages(id))[-1] == ("decoding", 0)
            assert (await jobs.kinds(s.store, id))[-1] == "completed"

    asyncio.run(story())


def test_a_run_that_goes_on_is_not_read_again(studio: Open, hands: Any, jobs: Any) -> None:
    hand = hands.Hand()
    still = Timing(poll=0.05, heartbeat=1e6, progress=0.0)

    async def story() -> None:
        async with studio(hand, timing=still) as s:
            read, told = jobs.fault(s.store, "record", 0), jobs.fault(s.store, "append", 0)
            await s.ask()
            await hand.waits.wait()
            assert (told.calls, read.calls) == (4, 0)
            hand.go.set()

    asyncio.run(story())


def test_a_record_that_kills_workers_is_put_away_and_the_others_go_on(
    studio: Open, hands: Any, jobs: Any
) -> None:
    timing = Timing(poll=0.05, retry_delay=0.0, progress=0.0, max_attempts=2)

    async def story() -> None:
        async with studio(hands.child(), timing=timing) as s:
            bad, good = await s.ask("an apple [crash 2]"), await s.ask()
            record = await s.ended(bad)
            assert record.error is not None
            assert (record.state, record.error["code"]) == (State.FAILURE, "worker_failed")
            assert "SIGABRT" in record.error["message"]
            assert record.attempt == 2
            assert await s.column(bad, "paid") == 0
            kinds = await jobs.kinds(s.store, bad)
            assert (kinds.count("started"), kinds.count("queued"), kinds[-1]) == (2, 2, "failed")
            assert (await s.ended(good)).state is State.SUCCESS

    asyncio.run(story())


def test_a_worker_that_was_lost_once_is_not_the_records_end(
    studio: Open, hands: Any, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()

    async def story() -> None:
        async with studio(hands.child(f"--state-dir={state}")) as s:
            record = await s.ended(await s.ask("an apple [crash-once 2]"))
            assert (record.state, record.attempt) == (State.SUCCESS, 2)
            assert len(s.files()) == 1

    asyncio.run(story())


def test_a_run_without_an_ending_counts_as_lost(studio: Open, hands: Any) -> None:
    hand = hands.quick_hand(is_mute=True)

    async def story() -> None:
        async with studio(hand) as s:
            record = await s.ended(await s.ask())
            assert record.error is not None
            assert (record.error["code"], len(hand.jobs)) == ("worker_failed", 3)

    asyncio.run(story())


def test_a_cancel_is_heard_at_once_and_pays_what_ran(studio: Open, hands: Any, jobs: Any) -> None:
    hand = hands.Hand()

    async def story() -> None:
        async with studio(hand) as s:
            id = await s.ask()
            await hand.waits.wait()
            canceled = await s.store.cancel("ann", id)
            assert canceled is not None
            await s.idle()
            assert (await s.record(id)).state is State.CANCELED
            assert hand.drawn[-1] <= 4  # it was told after step 2
            assert (await jobs.kinds(s.store, id))[-1] == "canceled"
            assert await s.store.used_seconds("ann-key") == 0.5
            assert s.files() == []

    asyncio.run(story())


def test_a_canceled_child_process_stops_and_draws_the_next_one(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.child("--step-seconds=0.05")) as s:
            id = await s.ask(steps=50)

            async def is_drawing() -> bool:
                return bool([one for one in await s.stages(id) if one[0] == "drawing"])

            await hands.until(is_drawing)
            await s.store.cancel("ann", id)
            told = await s.stages(id)
            assert (await s.ended(await s.ask())).state is State.SUCCESS
            assert (await s.record(id)).state is State.CANCELED
            assert await s.stages(id) == told
            paid = await s.column(id, "paid")
            assert 0 < paid < 50 * 50
            assert len(s.files()) == 1

    asyncio.run(story())


def test_a_canceled_run_pays_though_its_worker_was_lost(studio: Open, hands: Any) -> None:
    hand = hands.Hand(is_mute=True)

    async def story() -> None:
        async with studio(hand, hears=False, timing=Timing(poll=0.05, heartbeat=1e6)) as s:
            id = await s.ask()
            await hand.waits.wait()
            await s.store.cancel("ann", id)
            await s.store.delete("ann", id)
            assert await s.store.used_seconds("ann-key") == 0
            hand.go.set()
            await s.idle()
            assert 0 < await s.store.used_seconds("ann-key") < 60

    asyncio.run(story())


def test_a_lost_run_that_goes_back_pays_nothing(studio: Open, hands: Any) -> None:
    async def story() -> None:
        async with studio(hands.quick_hand(is_mute=True)) as s:
            await s.ended(await s.ask())
            await s.idle()
            assert await s.store.used_seconds("ann-key") == 0

    asyncio.run(story())


def test_a_cancel_before_the_worker_can_hear_it_is_told_again(studio: Open, hands: Any) -> None:
    hand = hands.quick_hand()
    hand.may_begin.clear()

    async def story() -> None:
        async with studio(hand) as s:
            id = await s.ask()
            await hand.began.wait()
            await s.store.cancel("ann", id)

            async def is_unwanted() -> bool:
                return all(not run.wanted for run in s.dispatcher.runs.under_way)

            await hands.until(is_unwanted)
            hand.may_begin.set()
            await s.idle()
            assert hand.drawn in ([], [1], [1, 2])
            assert await s.store.used_seconds("ann-key") == 0.5

    asyncio.run(story())


def test_a_cancel_while_references_are_away_never_reaches_a_worker(
    studio: Open, hands: Any, jobs: Any
) -> None:
    hand = hands.quick_hand()

    async def story() -> None:
        async with studio(hand) as s:
            fault = jobs.fault(s.pictures, "read", error=AWAY)
            id = await s.ask(reference_keys=("one.webp",))

            async def is_waiting() -> bool:
                return bool(fault.calls)

            await hands.until(is_waiting)
            await s.store.cancel("ann", id)
            await s.idle()
            assert hand.jobs == []
            assert (await s.record(id)).state is State.CANCELED

    asyncio.run(story())


@pytest.mark.parametrize("hears", [True, False], ids=["heard", "found-out-at-the-end"])
def test_who_lost_the_record_writes_nothing_and_leaves_no_file(
    studio: Open, hands: Any, hears: bool
) -> None:
    hand = hands.Hand()
    never = Timing(poll=60.0, heartbeat=1e6, progress=0.0 if hears else 1e9)

    async def story() -> None:
        async with studio(hand, timing=never, hears=hears) as s:
            id = await s.ask()
            await hand.waits.wait()
            await s.store.release(id, 1, counted=True, delay=0, error={}, max_attempts=9)
            taken = await s.store.claim("somebody else", 600)
            assert taken is not None
            assert taken.fence == 2
            before = await s.store.events(id)
            hand.go.set()
            await s.idle()
            record = await s.record(id)
            assert (record.state, record.fence, record.result_keys) == (State.PROCESSING, 2, ())
            assert await s.store.events(id) == before
            assert s.files() == []
            assert (hand.drawn[-1] < hands.STEPS) == hears
            assert await s.store.fail(id, 2, {"code": "x"}, 0)

    asyncio.run(story())
