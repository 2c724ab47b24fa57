"""Accepting: whole or not at all, once per Idempotency-Key, within limits; on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from linocut.errors import Forbidden, IdempotencyMismatch, InvalidRequest, QueueFull, QuotaExceeded
from linocut.jobs.record import State
from linocut.jobs.schema import files, idempotency, records
from linocut.jobs.store import Store
from linocut.jobs.terms import Limits, Offer


def test_what_was_submitted_is_there_with_all_its_fields(run: Any, jobs: Any) -> None:
    sent = jobs.submission(
        "ein Apfel \U0001f34e",
        body={"promptObject": {"prompt": "x", "n": 1.5, "list": [None, True]}, "seed": 2**53 - 1},
        reference_keys=("images/a.png", "images/b.png"),
        go_fast=True,
        check_safety=False,
        warnings=("one", "two"),
        webhook="https://example.org/hook",
    )

    async def story(store: Store) -> None:
        submitted = await store.submit(sent, jobs.wide)
        record = await store.record("ann", submitted.record.id)
        assert record == submitted.record
        assert not submitted.replayed
        assert record is not None
        assert (record.order, record.body) == (sent.order, sent.body)
        assert (record.tenant, record.key_id) == (sent.tenant, sent.key_id)
        assert (record.feature, record.model) == (sent.feature, sent.model)
        assert (record.state, record.attempt, record.fence) == (State.QUEUED, 0, 0)
        assert record.estimate == 2.0
        assert (record.error, record.result, record.result_keys) == (None, {}, ())
        (event,) = await store.events(record.id, 0)
        assert (event.seq, event.kind, event.data) == (1, "queued", {"place": 1})
        assert event.at == record.created_at

    run(story)


def test_fifty_at_once_with_one_idempotency_key_make_one_record(run: Any, jobs: Any) -> None:
    sent = jobs.submission(idempotency_key="same", fingerprint="f")

    async def story(store: Store) -> None:
        answers = await asyncio.gather(*(store.submit(sent, jobs.wide) for _ in range(50)))
        assert len({answer.record.id for answer in answers}) == 1
        assert sum(not answer.replayed for answer in answers) == 1
        assert (await store.backlog()).queued == 1
        assert await store.used_seconds("ann-key") == 2.0

    run(story)


def test_an_idempotency_key_finds_its_record_in_whatever_state(run: Any, jobs: Any) -> None:
    sent = jobs.submission(idempotency_key="k", fingerprint="f")

    async def story(store: Store) -> None:
        id = (await store.submit(sent, jobs.wide)).record.id
        await store.cancel("ann", id)
        again = await store.submit(sent, jobs.wide)
        assert (again.record.id, again.replayed, again.place) == (id, True, 0)
        assert again.record.state is State.CANCELED
        assert await store.replay("ann", "k", "f") == again.record
        assert await store.replay("ann", "other", "f") is None
        assert await store.replay("bob", "k", "f") is None

    run(story)


def test_an_idempotency_key_with_another_request_is_a_mismatch(run: Any, jobs: Any) -> None:
    sent = jobs.submission(idempotency_key="k", fingerprint="f")

    async def story(store: Store) -> None:
        await store.submit(sent, jobs.wide)
        with pytest.raises(IdempotencyMismatch):
            await store.submit(replace(sent, fingerprint="g"), jobs.wide)
        with pytest.raises(IdempotencyMismatch):
            await store.replay("ann", "k", "g")
        assert (await store.backlog()).queued == 1
        other = await store.submit(replace(sent, tenant="bob", fingerprint="g"), jobs.wide)
        assert not other.replayed

    run(story)


def test_an_idempotency_key_is_forgotten_after_a_day(run: Any, jobs: Any) -> None:
    sent = jobs.submission(idempotency_key="k", fingerprint="f")
    day = 24 * 3_600_000

    async def story(store: Store) -> None:
        first = await store.submit(sent, jobs.wide)
        made = idempotency.c.created_at
        await jobs.change(store, update(idempotency).values(created_at=made - day + 60_000))
        assert (await store.submit(sent, jobs.wide)).replayed
        await jobs.change(store, update(idempotency).values(created_at=made - 60_000))
        assert await store.replay("ann", "k", "f") is None
        second = await store.submit(replace(sent, fingerprint="g"), jobs.wide)
        assert not second.replayed
        assert second.record.id != first.record.id
        await jobs.change(store, update(idempotency).values(created_at=made - day))
        await store.tidy()
        assert (await jobs.select_all(store, select(func.count()).select_from(idempotency)))[0] == (
            0,
        )

    run(story)


def test_a_full_queue_refuses_and_says_when_to_come_back(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = Limits(queue=3, share=2, workers=2)
        for key, seconds in (("a", 10.0), ("a", 20.0), ("b", 45.0)):
            await store.submit(jobs.submission(key_id=key, estimate=seconds), limits)
        for key, said in (("a", "at most 2"), ("b", "at most 3"), ("c", "at most 3")):
            with pytest.raises(QueueFull, match=said) as refused:
                await store.submit(jobs.submission(key_id=key), limits)
            assert refused.value.retry_after == 12.5, "a run of 25 s, shared by two workers"
            assert "about 13 s" in refused.value.hint
        assert (await store.backlog()).queued == 3
        assert await store.used_seconds("c") == 0.0
        assert await store.claim("lane", 30)
        assert await store.submit(jobs.submission(key_id="c"), limits)

    run(story)


def test_a_full_share_is_free_again_when_its_turn_has_come(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = Limits(queue=9, share=1, workers=2)
        for key in "abc":
            await store.submit(jobs.submission(key_id=key, estimate=10.0), limits)
        for key, wait in (("a", 5.0), ("b", 10.0), ("c", 15.0)):
            with pytest.raises(QueueFull) as refused:
                await store.submit(jobs.submission(key_id=key), limits)
            assert refused.value.retry_after == wait

    run(story)


def test_a_full_queue_of_quick_ones_asks_for_a_second_of_patience(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = Limits(queue=1, share=1)
        await store.submit(jobs.submission(estimate=0.01), limits)
        with pytest.raises(QueueFull) as refused:
            await store.submit(jobs.submission(), limits)
        assert refused.value.retry_after == 1.0

    run(story)


def test_who_is_taken_learns_its_place_and_how_long_the_others_take(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = [jobs.submission(key_id=key, estimate=s) for key, s in (("a", 1.0), ("b", 3.0))]
        first, second = [await store.submit(one, jobs.wide) for one in sent]
        assert (first.place, first.usual) == (1, 1.0)
        assert (second.place, second.usual) == (2, 2.0)

    run(story)


def test_a_queue_of_ten_takes_ten_of_forty_that_come_at_once(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = Limits(queue=10, share=10)
        sent = (store.submit(jobs.submission(key_id=f"k{n}"), limits) for n in range(40))
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert sum(isinstance(answer, QueueFull) for answer in answers) == 30
        assert (await store.backlog()).queued == 10

    run(story)


def test_a_quota_counts_what_is_reserved_until_it_is_settled(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = replace(jobs.wide, quota_seconds=5.0)
        await store.submit(jobs.submission(estimate=3.0), limits)
        await store.submit(jobs.submission(estimate=2.0), limits)
        with pytest.raises(QuotaExceeded, match=r"0\.0 of 5 are left") as refused:
            await store.submit(jobs.submission(estimate=0.5), limits)
        assert 0 < refused.value.retry_after <= 86_400
        assert "midnight" in refused.value.hint
        await store.submit(jobs.submission(key_id="other"), limits)
        record = await store.claim("lane", 30)
        assert record is not None
        assert await store.succeed(record.id, record.fence, [], {}, 1.0)
        assert await store.used_seconds("ann-key") == 3.0
        await store.submit(jobs.submission(estimate=2.0), limits)

    run(story)


def test_what_no_day_has_room_for_is_not_told_to_come_back(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        limits = replace(jobs.wide, quota_seconds=5.0)
        with pytest.raises(
            Forbidden, match=r"about 5\.5 worker seconds; this key has 5 a day"
        ) as no:
            await store.submit(jobs.submission(estimate=5.5), limits)
        assert "fewer steps" in no.value.hint
        assert "midnight" not in no.value.hint
        assert await store.used_seconds("ann-key") == 0
        await store.submit(jobs.submission(estimate=5.0), limits)

    run(story)


def test_a_guess_reserves_no_more_than_the_quota_has_left(run: Any, jobs: Any) -> None:
    guess = jobs.submission(estimate=60.0, is_guess=True)

    async def story(store: Store) -> None:
        limits = replace(jobs.wide, quota_seconds=70.0)
        first, second = [(await store.submit(guess, limits)).record for _ in "12"]
        assert (first.estimate, second.estimate) == (60.0, 10.0)
        with pytest.raises(QuotaExceeded, match=r"0\.0 of 70 are left") as refused:
            await store.submit(guess, limits)
        assert "midnight" in refused.value.hint
        await store.cancel("ann", second.id)
        assert await store.used_seconds("ann-key") == 60.0

    run(story)


def test_a_reference_that_was_fetched_belongs_to_its_record(run: Any, jobs: Any) -> None:
    sent = jobs.submission(reference_keys=("r", "u", "foreign"))

    async def story(store: Store) -> None:
        await store.add_file(jobs.file("r", kind="reference"))
        await store.add_file(jobs.file("u", kind="upload"))
        await store.add_file(jobs.file("foreign", kind="reference", tenant="bob"))
        await jobs.change(store, update(files).values(used_at=0))
        id = (await store.submit(sent, jobs.wide)).record.id
        owners = {}
        for key in ("r", "u", "foreign"):
            file = await store.file(key)
            assert file is not None
            owners[key] = file.record_id
        assert owners == {"r": id, "u": "", "foreign": ""}
        assert [file.key for file in await store.expired_files("reference", 3600)] == ["foreign"]
        assert await store.expired_files("upload", 3600) == []

    run(story)


@pytest.mark.parametrize(
    "said",
    [
        {"prompt": "a\0b"},
        {"tenant": "a\0b"},
        {"idempotency_key": "a\ud800"},
        {"body": {"x": float("nan")}},
        {"body": {"x": object()}},
    ],
    ids=["nul", "nul in a name", "surrogate", "nan", "no JSON"],
)
def test_what_a_database_cannot_keep_is_refused_in_words(
    run: Any, jobs: Any, said: dict[str, Any]
) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(InvalidRequest):
            await store.submit(jobs.submission(**said), jobs.wide)
        assert await jobs.select_all(store, select(records.c.id)) == []
        assert await store.submit(jobs.submission(), jobs.wide)

    run(story)


def test_odd_text_inside_of_a_body_comes_back_as_it_was(run: Any, jobs: Any) -> None:
    body = {"nul": "\0", "half": "\ud800", "large": 10**40, "deep": [[[[{}]]]]}

    async def story(store: Store) -> None:
        sent = await store.submit(jobs.submission(body=body), jobs.wide)
        record = await store.record("ann", sent.record.id)
        assert record is not None
        assert record.body == body

    run(story)


def offered(store: Store) -> list[Any]:
    """What the store's offers were closed with; a worker is always idle."""
    closed: list[Any] = []
    store.offer = lambda: Offer(lane="idle", lease=30.0, close=closed.append)
    return closed


def test_an_idle_worker_gets_what_comes_in_the_same_transaction(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        closed = offered(store)
        submitted = await store.submit(jobs.submission(), jobs.wide)
        record = await store.record("ann", submitted.record.id)
        assert record is not None
        assert (record.state, record.attempt, record.fence) == (State.PROCESSING, 1, 1)
        assert closed == [record]
        assert submitted.record.state is State.QUEUED
        assert await store.heartbeat(record.id, 1, 30)
        assert await store.used_seconds("ann-key") == 2.0

    run(story)


def test_an_idle_worker_gets_what_is_next_and_not_what_came_last(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        first = (await store.submit(jobs.submission(), jobs.wide)).record
        closed = offered(store)
        second = (await store.submit(jobs.submission(), jobs.wide)).record
        assert [record.id for record in closed] == [first.id]
        assert await store.place(second.id) == 1

    run(story)


def test_what_brings_nothing_to_draw_leaves_an_idle_worker_idle(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = jobs.submission(idempotency_key="k", fingerprint="f")
        await store.submit(sent, jobs.wide)
        closed = offered(store)
        assert (await store.submit(sent, jobs.wide)).replayed
        with pytest.raises(QueueFull):
            await store.submit(jobs.submission(), Limits(queue=0, share=1))
        assert closed == [None, None]
        assert (await store.backlog()).queued == 1

    run(story)


def test_a_worker_is_offered_until_the_end_though_the_caller_goes_away(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        closed = offered(store)
        asked = asyncio.create_task(store.submit(jobs.submission(), jobs.wide))
        for _ in range(4):
            await asyncio.sleep(0)
        asked.cancel()
        async with asyncio.timeout(60):
            while not closed:  # noqa: ASYNC110 - nothing rings
                await asyncio.sleep(0.01)
        assert closed[0].state is State.PROCESSING

    run(story)
