"""Files that the database knows; on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from linocut.errors import Conflict
from linocut.jobs import schema
from linocut.jobs.store import Store


def test_a_file_comes_back_as_it_was_added(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        sent = jobs.file("images/ü.png", kind="upload", original_name="Ä b.png", size=2**40)
        await store.add_file(sent)
        kept = await store.file(sent.key)
        assert kept is not None
        assert kept.created_at > 1_600_000_000
        assert kept == jobs.file(
            "images/ü.png",
            kind="upload",
            original_name="Ä b.png",
            size=2**40,
            created_at=kept.created_at,
        )
        assert await store.file("images/u.png") is None

    run(story)


def test_a_key_is_taken_once(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.add_file(jobs.file("a"))
        with pytest.raises(Conflict):
            await store.add_file(jobs.file("a", tenant="bob"))
        kept = await store.file("a")
        assert kept is not None
        assert kept.tenant == "ann"

    run(story)


def test_a_file_is_deleted_by_its_owner_alone(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.add_file(jobs.file("a"))
        assert not await store.delete_file("bob", "a")
        assert await store.delete_file("ann", "a")
        assert not await store.delete_file("ann", "a")
        assert await store.file("a") is None

    run(story)


def test_known_keys_are_found_among_very_many(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        for key in ("a", "b", "key 1300"):
            await store.add_file(jobs.file(key))
        asked = (f"key {n}" for n in range(1500))
        assert await store.known_keys([*asked, "a"]) == {"a", "key 1300"}
        assert await store.known_keys([]) == set()

    run(story)


def test_a_file_of_no_record_expires_with_its_kind_when_nobody_used_it_for_long(
    run: Any, jobs: Any
) -> None:
    async def story(store: Store) -> None:
        await store.add_file(jobs.file("old", kind="upload"))
        await store.add_file(jobs.file("owned", kind="upload", record_id="some"))
        await store.add_file(jobs.file("fetched", kind="reference"))
        table = schema.files
        await jobs.change(store, update(table).values(used_at=table.c.used_at - 7_200_000))
        await store.add_file(jobs.file("new", kind="upload"))
        assert [file.key for file in await store.expired_files("upload", 3600)] == ["old"]
        assert [file.key for file in await store.expired_files("reference", 3600)] == ["fetched"]
        assert [file.key for file in await store.expired_files("upload", -60)] == ["old", "new"]
        assert [file.key for file in await store.expired_files("upload", -60, 1)] == ["old"]

    run(story)
