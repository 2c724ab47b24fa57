"""How records end: once, with their files, their webhook and their bill; on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from linocut.errors import Conflict
from linocut.jobs.record import ENDINGS, Record, State
from linocut.jobs.schema import deliveries, events
from linocut.jobs.store import Store

ERROR = {"code": "content_moderated", "message": "no", "hint": "", "stage": "output"}


async def claimed(store: Store, jobs: Any, **said: Any) -> Record:
    """A record that runs."""
    await store.submit(jobs.submission(**said), jobs.wide)
    record = await store.claim("lane", 30)
    assert record is not None
    return record


def test_success_comes_with_result_files_event_and_bill(run: Any, jobs: Any) -> None:
    result = {"seed": 7, "width": 64}

    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        file = jobs.file(record_id=record.id)
        assert await store.succeed(record.id, 1, [file], result, 1.25)
        ended = await store.record("ann", record.id)
        assert ended is not None
        assert ended.is_final
        assert (ended.state, ended.result, ended.seconds) == (State.SUCCESS, result, 1.25)
        assert ended.result_keys == (file.key,)
        assert ended.finished_at is not None
        kept = await store.file(file.key)
        assert kept is not None
        assert (kept.record_id, kept.sha256, kept.size) == (record.id, file.sha256, file.size)
        assert kept.created_at >= record.created_at
        told = await store.events(record.id, 0)
        assert [event.kind for event in told] == ["queued", "completed"]
        assert told[-1].data == result
        assert await store.used_seconds("ann-key") == 1.25
        assert (await store.backlog()).seconds == 0

    run(story)


def test_success_that_is_told_again_is_still_success_and_paid_once(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        for _ in range(2):
            assert await store.succeed(record.id, 1, [jobs.file()], {"a": 1}, 1.0)
        assert not await store.succeed(record.id, 1, [jobs.file("another")], {"a": 1}, 1.0)
        assert not await store.succeed(record.id, 2, [jobs.file()], {"a": 1}, 1.0)
        assert not await store.fail(record.id, 1, ERROR, 1.0)
        assert await store.used_seconds("ann-key") == 1.0
        assert await jobs.kinds(store, record.id) == ["queued", "completed"]
        assert await store.known_keys(["another"]) == set()

    run(story)


@pytest.mark.parametrize("ends_well", [True, False])
def test_what_was_still_to_be_told_is_told_before_the_end(
    run: Any, jobs: Any, ends_well: bool
) -> None:
    last = [("progress", {"step": 7}), ("progress", {"step": 8})]

    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        for _ in range(2):  # the second as if the first answer had been lost
            if ends_well:
                assert await store.succeed(record.id, 1, [], {}, 1.0, story=last)
            else:
                assert await store.fail(record.id, 1, ERROR, 1.0, story=last)
        end = "completed" if ends_well else "failed"
        assert await jobs.kinds(store, record.id) == ["queued", "progress", "progress", end]
        told = await store.events(record.id, 1)
        assert [event.data.get("step") for event in told[:2]] == [7, 8]
        assert not await store.fail(record.id, 2, ERROR, 1.0, story=last)
        assert len(await store.events(record.id)) == 4

    run(story)


def test_failure_keeps_its_error_and_a_refusal_pays_nothing(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        for _ in range(2):
            assert await store.fail(record.id, 1, ERROR, 0.0)
        ended = await store.record("ann", record.id)
        assert ended is not None
        assert (ended.state, ended.error) == (State.FAILURE, ERROR)
        assert (await store.events(record.id, 1))[0].data == ERROR
        assert await store.used_seconds("ann-key") == 0.0

    run(story)


def test_a_failure_that_used_a_worker_pays_what_it_used(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        await store.fail(record.id, 1, ERROR, 0.75)
        assert await store.used_seconds("ann-key") == 0.75

    run(story)


def test_a_canceled_run_gives_back_its_place_and_pays_what_ran_once(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        canceled = await store.cancel("ann", record.id)
        assert canceled is not None
        assert canceled.state is State.CANCELED
        assert await store.used_seconds("ann-key") == 0.0
        assert not await store.heartbeat(record.id, 1, 30)
        for _ in range(2):
            await store.settle(record, 0.5)
        assert await store.used_seconds("ann-key") == 0.5
        ended = await store.record("ann", record.id)
        assert ended is not None
        assert ended.seconds == 0.5
        assert await jobs.kinds(store, record.id) == ["queued", "canceled"]

    run(story)


def test_a_canceled_run_pays_even_if_its_record_was_deleted_meanwhile(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        await store.cancel("ann", record.id)
        await store.delete("ann", record.id)
        await store.settle(record, 0.5)
        assert await store.used_seconds("ann-key") == 0.5

    run(story)


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel", "last attempt"])
def test_previews_go_with_the_end_and_the_rest_of_the_story_stays(
    run: Any, jobs: Any, end: str
) -> None:
    preview = ("preview", {"step": 4, "image": "data:image/webp;base64,AAAA"})

    async def story(store: Store) -> None:
        other, record = await claimed(store, jobs), await claimed(store, jobs)
        for each in (other, record):
            await store.append(each.id, 1, [("started", {}), preview, ("progress", {"step": 5})])
        last = [preview, ("progress", {"step": 6})]
        if end == "succeed":
            await store.succeed(record.id, 1, [], {}, 1.0, story=last)
        elif end == "fail":
            await store.fail(record.id, 1, ERROR, 0.0, story=last)
        elif end == "cancel":
            await store.cancel("ann", record.id)
        else:
            await store.release(record.id, 1, counted=True, delay=0, error=ERROR, max_attempts=1)
        told = await store.events(record.id)
        kinds = [event.kind for event in told if event.kind != "progress"]
        assert kinds[:-1] == ["queued", "started"]
        assert kinds[-1] in ENDINGS.values()
        assert [event.seq for event in told] == sorted({event.seq for event in told})
        assert "base64" not in str(
            await jobs.select_all(
                store, select(events.c.data).where(events.c.record_id == record.id)
            )
        )
        assert [each.kind for each in await store.events(other.id)].count("preview") == 1

    run(story)


def test_cancel_changes_only_what_is_open_and_ones_own(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        queued = (await store.submit(jobs.submission(), jobs.wide)).record
        assert await store.cancel("bob", queued.id) is None
        assert await store.cancel("ann", "nothing") is None
        canceled = await store.cancel("ann", queued.id)
        assert canceled is not None
        assert canceled.state is State.CANCELED
        assert await store.claim("lane", 30) is None
        assert await store.cancel("ann", queued.id) == canceled
        done = await claimed(store, jobs)
        await store.succeed(done.id, 1, [], {}, 1.0)
        unchanged = await store.cancel("ann", done.id)
        assert unchanged is not None
        assert unchanged.state is State.SUCCESS
        assert await jobs.kinds(store, done.id) == ["queued", "completed"]

    run(story)


def test_cancel_and_completion_race_and_one_of_them_wins(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> Counter[State]:
        won: Counter[State] = Counter()
        for number in range(12):
            record = await claimed(store, jobs)
            both = [
                store.succeed(record.id, 1, [jobs.file(f"{number}.webp")], {}, 1.0),
                store.cancel("ann", record.id),
            ]
            answers = await asyncio.gather(*(both if number % 2 else reversed(both)))
            done, canceled = answers if number % 2 else reversed(answers)
            assert isinstance(canceled, Record)
            now = await store.record("ann", record.id)
            assert now is not None
            assert now.state is canceled.state
            assert done is (now.state is State.SUCCESS)
            assert (await store.file(f"{number}.webp") is not None) is done
            assert await jobs.kinds(store, record.id) == ["queued", ENDINGS[now.state]]
            won[now.state] += 1
        return won

    assert sum(run(story).values()) == 12


def test_the_database_itself_refuses_a_second_ending(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs)
        await store.succeed(record.id, 1, [], {}, 1.0)
        second = {"record_id": record.id, "seq": 99, "kind": "canceled", "data": {}, "at": 0}
        with pytest.raises(Conflict) as refused:
            await jobs.change(store, events.insert().values(**second))
        assert isinstance(refused.value.__cause__, IntegrityError)
        await jobs.change(store, events.insert().values(**second | {"kind": "progress"}))

    run(story)


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ((), ["completed", "failed", "canceled"]),
        (("failed", "canceled"), ["failed", "canceled"]),
        (("completed",), ["completed"]),
    ],
    ids=["no list", "failed and canceled", "completed"],
)
def test_webhooks_are_due_for_the_events_that_were_asked_for(
    run: Any, jobs: Any, asked: tuple[str, ...], due: list[str]
) -> None:
    async def story(store: Store) -> list[str]:
        for end in ("completed", "failed", "canceled"):
            record = await claimed(store, jobs, webhook="https://a.test", webhook_events=asked)
            await store.append(record.id, 1, [("started", {})])
            if end == "completed":
                await store.succeed(record.id, 1, [], {}, 1.0)
            elif end == "failed":
                await store.fail(record.id, 1, ERROR, 0.0)
            else:
                await store.cancel("ann", record.id)
        rows = await jobs.select_all(store, select(deliveries.c.event))
        return [row.event for row in rows]

    assert Counter(run(story)) == Counter(due)


def test_nobody_is_told_where_no_address_was_given(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        record = await claimed(store, jobs, webhook_events=("completed",))
        await store.succeed(record.id, 1, [], {}, 1.0)
        assert await store.due_deliveries(10) == []

    run(story)
