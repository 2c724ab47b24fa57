"""API keys as they are kept; on both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from linocut.errors import Conflict
from linocut.jobs.schema import api_keys
from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey

PLAIN = ApiKey(id="k1", tenant="ann", name="laptop", digest="ab" * 32, scopes=("generate",))
FULL = replace(
    PLAIN,
    id="k2",
    scopes=("generate", "read", "admin"),
    rate=0.5,
    share=3,
    quota_seconds=12.5,
    allow_unsafe=True,
    expires_at=2_000_000_000.25,
)


def test_keys_come_back_as_they_were_added(run: Any) -> None:
    async def story(store: Store) -> None:
        for key in (PLAIN, FULL):
            kept = await store.add_key(key)
            assert kept.created_at > 1_600_000_000
            assert kept == replace(key, created_at=kept.created_at)
            assert await store.key(key.id) == kept
        assert [key.id for key in await store.keys()] == ["k1", "k2"]
        assert await store.key("k3") is None
        with pytest.raises(Conflict):
            await store.add_key(PLAIN)

    run(story)


def test_a_key_is_revoked_once_and_stays_to_be_seen(run: Any) -> None:
    async def story(store: Store) -> None:
        await store.add_key(PLAIN)
        await store.add_key(FULL)
        assert await store.revoke_key("k1")
        assert not await store.revoke_key("k1")
        assert not await store.revoke_key("nothing")
        revoked, other = await store.keys()
        assert revoked.revoked_at is not None
        assert revoked.revoked_at >= revoked.created_at
        assert other.revoked_at is None

    run(story)


def test_the_last_use_is_kept_to_the_minute(run: Any, jobs: Any) -> None:
    async def story(store: Store) -> None:
        await store.add_key(PLAIN)
        seen = []
        for back in (0, 30_000, 61_000):
            moved = update(api_keys).values(last_used_at=api_keys.c.last_used_at - back)
            await jobs.change(store, moved)
            before = await store.key("k1")
            await store.touch_key("k1")
            after = await store.key("k1")
            assert before is not None
            assert after is not None
            seen.append(after.last_used_at != before.last_used_at)
        assert seen == [True, False, True]

    run(story)
