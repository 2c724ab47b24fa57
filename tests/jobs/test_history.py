"""What owners see of their records, and what nobody else sees; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from linocut.errors import Conflict, InvalidRequest
from linocut.jobs.record import State
from linocut.jobs.schema import deliveries, events, idempotency, records
from linocut.jobs.store import Store


async def submitted(store: Store, jobs: Any, *prompts: str, **said: Any) -> list[str]:
    """The ids of new records."""
    return [
        (await store.submit(jobs.submission(prompt, **said), jobs.wide)).record.id
        for prompt in prompts
    ]


async def finished(store: Store, jobs: Any, *sizes: int, **said: Any) -> list[str]:
    """The ids of records that succeeded with a file of this size each."""
    ids = []
    for number, size in enumerate(sizes):
        (id,) = await submitted(store, jobs, "done", **said)
        record = await store.claim("lane", 30)
        assert record is not None
        assert record.id == id
        await store.succeed(id, 1, [jobs.file(f"{id}/{number}", size=size)], {}, 1.0)
        ids.append(id)
    return ids


async def page(store: Store, tenant: str = "ann", **said: Any) -> list[str]:
    """The ids of a page of history."""
    return [record.id for record in await store.records(tenant, **({"limit": 50} | said))]


def test_pages_follow_each_other_without_gap_or_repeat(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        ids = await submitted(store, jobs, *(f"picture {n}" for n in range(7)))
        seen: list[str] = []
        before = None
        while got := await page(store, limit=3, before=before):
            assert len(got) <= 3
            seen += got
            before = got[-1]
        assert seen == ids[::-1]

    run(story)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("apple", {"A red APPLE", "an apple_tree, 100% real"}),
        ("APPLE", {"A red APPLE", "an apple_tree, 100% real"}),
        ("e_t", {"an apple_tree, 100% real"}),
        ("100%", {"an apple_tree, 100% real"}),
        ("%", {"an apple_tree, 100% real"}),
        ("back\\slash", {"back\\slash"}),
        ("\\", {"back\\slash"}),
        ("STRASSE", {"Straße in ÉVORA"}),
        ("e\N{COMBINING ACUTE ACCENT}vora", {"Straße in ÉVORA"}),
        ("'; DROP TABLE records; --", set()),
        ("pear", set()),
    ],
)
def test_search_finds_part_of_a_prompt_in_any_case(
    run: Any, jobs: Any, search: str, found: set[str]
) -> None:
    prompts = ("A red APPLE", "an apple_tree, 100% real", "back\\slash", "Straße in ÉVORA")

    async def story(store: Store) -> None:
        await submitted(store, jobs, *prompts)
        got = await store.records("ann", limit=50, before=None, search=search, starred=None)
        assert {record.order.request.prompt for record in got} == found

    run(story)


def test_a_search_that_is_too_long_is_refused_in_words(run: Any) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(InvalidRequest, match="at most 1,000") as refused:
            await page(store, search="\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 60)
        assert refused.value.field == "search"
        assert await page(store, search="%" * 1000) == []

    run(story)


def test_a_foreign_record_is_as_absent_as_one_that_never_was(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        (id,) = await submitted(store, jobs, "mine")
        for tenant, name in (("bob", id), ("ann", "nothing"), ("", id), ("an", id)):
            assert await store.record(tenant, name) is None
            assert await store.star(tenant, name, starred=True) is None
            assert await store.delete(tenant, name) is None
            assert await store.cancel(tenant, name) is None
        assert await page(store, "bob") == []
        record = await store.record("ann", id)
        assert record is not None
        assert (record.state, record.starred) == (State.QUEUED, False)

    run(story)


def test_stars_are_kept_and_can_be_looked_for(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        first, second, third = await submitted(store, jobs, "a", "b", "c")
        starred = await store.star("ann", second, starred=True)
        assert starred is not None
        assert starred.starred
        assert await page(store, starred=True) == [second]
        assert await page(store, starred=False) == [third, first]
        await store.star("ann", second, starred=False)
        assert await page(store, starred=True) == []

    run(story)


def test_an_open_record_cannot_be_deleted(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        (id,) = await submitted(store, jobs, "a")
        for _ in range(2):
            with pytest.raises(Conflict):
                await store.delete("ann", id)
            await store.claim("lane", 30)
        assert await store.record("ann", id)

    run(story)


def test_delete_takes_all_that_belongs_to_a_record_and_nothing_else(run: Any, jobs: Any) -> None:
    sent = jobs.submission(
        reference_keys=("ref", "up"),
        idempotency_key="k",
        fingerprint="f",
        webhook="https://a.test",
    )

    async def story(store: Store) -> None:
        await store.add_file(jobs.file("ref", kind="reference"))
        await store.add_file(jobs.file("up", kind="upload"))
        id = (await store.submit(sent, jobs.wide)).record.id
        await store.claim("lane", 30)
        await store.succeed(id, 1, [jobs.file("result")], {}, 1.0)
        (other,) = await finished(store, jobs, 10)
        assert await store.delete("ann", id) == ("ref", "result")
        assert await store.delete("ann", id) is None
        assert await store.record("ann", id) is None
        assert await store.known_keys(["ref", "up", "result", f"{other}/0"]) == {"up", f"{other}/0"}
        for table in (events, idempotency, deliveries):
            counted = select(func.count()).where(table.c.record_id == id)
            assert (await jobs.select_all(store, counted))[0] == (0,)
        assert await page(store) == [other]
        assert await store.used_seconds("ann-key") == 2.0

    run(story)


def test_retention_by_age_leaves_starred_and_open_records(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        old, kept, young = await finished(store, jobs, 1, 1, 1)
        await submitted(store, jobs, "open")
        await store.star("ann", kept, starred=True)
        aged = update(records).where(records.c.id.in_([old, kept]))
        await jobs.change(store, aged.values(finished_at=records.c.finished_at - 7_200_000))
        expired = await store.expired_records(older_than=3600, total_bytes=None)
        assert [(one.tenant, one.id) for one in expired] == [("ann", old)]
        everything = await store.expired_records(older_than=-60, total_bytes=None)
        assert [one.id for one in everything] == [old, young]
        assert len(await store.expired_records(older_than=-60, total_bytes=None, limit=1)) == 1
        assert await store.expired_records(older_than=None, total_bytes=None) == []

    run(story)


@pytest.mark.parametrize(
    ("room", "gone"), [(600, 0), (599, 1), (500, 1), (499, 2), (301, 2), (300, 2), (0, 2)]
)
def test_retention_by_size_takes_the_oldest_until_the_rest_has_room(
    run: Any, jobs: Any, room: int, gone: int
) -> None:
    async def story(store: Store) -> None:
        ids = await finished(store, jobs, 100, 200, 300)
        await store.star("ann", ids[2], starred=True)
        expired = await store.expired_records(older_than=None, total_bytes=room)
        assert [one.id for one in expired] == ids[:gone]

    run(story)


def test_uploads_and_fetched_pictures_make_nobodys_records_go(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        (id,) = await finished(store, jobs, 100)
        await store.add_file(jobs.file("large", kind="upload", tenant="bob", size=10**9))
        await store.add_file(jobs.file("fetched", kind="reference", tenant="bob", size=10**9))
        assert await store.expired_records(older_than=None, total_bytes=100) == []
        expired = await store.expired_records(older_than=None, total_bytes=99)
        assert [one.id for one in expired] == [id]

    run(story)


def test_a_story_can_be_read_on_from_any_event(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        (id,) = await submitted(store, jobs, "a")
        await store.claim("lane", 30)
        await store.append(id, 1, [("progress", {"step": n}) for n in range(5)])
        whole = await store.events(id, 0)
        assert [event.seq for event in whole] == [1, 2, 3, 4, 5, 6]
        for after in range(8):
            assert await store.events(id, after) == whole[after:]
        assert await store.events("nothing", 0) == []

    run(story)
