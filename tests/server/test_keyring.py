"""Who is calling, and who is not: refusals that tell nothing, and floods that wait."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from linocut.errors import InvalidKey, RateLimited
from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey
from linocut.server import keyring as keyring_module
from linocut.server.keyring import BAD_A_MINUTE, FLOOR, KeyDefaults, Keyring
from linocut.server.keys import KeyText, digest, new_key

PEPPER = b"p" * 32
HERE = "127.0.0.1"


class Clock:
    """A time that is set by hand."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(folder: Path, **more: Any) -> AsyncIterator[Keyring]:
    """A keyring over a fresh database."""
    store = await Store.open(f"sqlite:///{folder / 'linocut.db'}")
    try:
        yield Keyring(store=store, pepper=PEPPER, **more)
    finally:
        await store.close()


def run(folder: Path, check: Callable[[Keyring], Awaitable[None]], **more: Any) -> None:
    """The check with a keyring of its own."""

    async def with_ring() -> None:
        async with opened(folder, **more) as ring:
            await check(ring)

    asyncio.run(with_ring())


async def added(ring: Keyring, **more: Any) -> KeyText:
    """A key that is in the store."""
    key = new_key()
    row = ApiKey(
        id=key.id, tenant="team", name="app", digest=digest(key, PEPPER), scopes=("generate",)
    )
    await ring.store.add_key(replace(row, **more))
    return key


def test_a_key_s_holder_is_known(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        key = await added(ring, rate=5, share=2, quota_seconds=9, allow_unsafe=True)
        caller = await ring.caller(key.text, HERE)
        assert (caller.id, caller.tenant, caller.name) == (key.id, "team", "app")
        assert (caller.rate, caller.share, caller.quota_seconds) == (5, 2, 9)
        assert caller.allow_unsafe
        assert caller.may("read")
        assert caller.may("generate")
        assert not caller.may("admin")

    run(tmp_path, check)


def test_what_a_key_does_not_say_is_the_server_s(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        caller = await ring.caller((await added(ring)).text, HERE)
        assert (caller.rate, caller.share, caller.quota_seconds) == (7, 3, 60)
        assert not caller.allow_unsafe

    run(tmp_path, check, defaults=KeyDefaults(rate=7, share=3, quota_seconds=60))


def test_nought_is_no_limit(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        caller = await ring.caller((await added(ring)).text, HERE)
        assert caller.share > 10**6
        assert caller.quota_seconds is None

    run(tmp_path, check, defaults=KeyDefaults(rate=0, share=0, quota_seconds=0))


def test_unknown_wrong_expired_and_revoked_keys_are_refused_in_the_same_words(
    tmp_path: Path,
) -> None:
    clock = Clock()

    async def check(ring: Keyring) -> None:
        good = await added(ring)
        other = new_key().text
        revoked, expired = await added(ring), await added(ring, expires_at=clock.now)
        await ring.store.revoke_key(revoked.id)
        wrong = _with_secret_of(good.text, other)
        said = set()
        for text in (other, wrong, revoked.text, expired.text, "nonsense", "ä\0", "x" * 10_000):
            with pytest.raises(InvalidKey) as caught:
                await ring.caller(text, HERE)
            said.add((caught.value.message, caught.value.hint))
        assert len(said) == 1

    run(tmp_path, check, now=clock)


async def bad_keys(ring: Keyring) -> dict[str, str]:
    """A well-formed key for every reason to refuse one."""
    good, expired, revoked = await added(ring), await added(ring, expires_at=1.0), await added(ring)
    await ring.caller(revoked.text, HERE)
    await ring.store.revoke_key(revoked.id)
    other = new_key().text
    return {
        "unknown": other,
        "wrong": _with_secret_of(good.text, other),
        "expired": expired.text,
        "revoked": revoked.text,
    }


def _with_secret_of(text: str, other: str) -> str:
    """A well-formed key with the id of one and the secret of another."""
    from linocut.server.keys import _check  # noqa: PLC0415 - no one else forges keys

    body = text[:14] + other[14:57]
    return body + _check(body)


def test_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        with pytest.raises(InvalidKey, match="there is none") as caught:
            await ring.caller("", HERE)
        assert "API-KEY: <key>" in caught.value.hint

    run(tmp_path, check)


def test_a_key_works_until_it_expires(tmp_path: Path) -> None:
    clock = Clock()

    async def check(ring: Keyring) -> None:
        key = await added(ring, expires_at=clock.now + 10)
        assert await ring.caller(key.text, HERE)
        clock.now += 11
        with pytest.raises(InvalidKey):
            await ring.caller(key.text, HERE)

    run(tmp_path, check, now=clock)


def test_a_key_that_worked_stops_at_once_when_it_is_revoked(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        key = await added(ring)
        assert await ring.caller(key.text, HERE)
        await ring.store.revoke_key(key.id)
        with pytest.raises(InvalidKey):
            await ring.caller(key.text, HERE)

    run(tmp_path, check)


def test_who_guesses_has_to_wait_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "FLOOR", 0.0)
    monkeypatch.setattr(keyring_module, "JITTER", 0.0)
    clock = Clock()

    async def check(ring: Keyring) -> None:
        known, new = await added(ring), await added(ring)
        assert await ring.caller(known.text, HERE)
        for _ in range(BAD_A_MINUTE):
            with pytest.raises(InvalidKey):
                await ring.caller(new_key().text, HERE)
        with pytest.raises(RateLimited) as caught:
            await ring.caller(new_key().text, HERE)
        assert 0 < caught.value.retry_after <= 2
        with pytest.raises(RateLimited):
            await ring.caller(new.text, HERE)
        assert await ring.caller(known.text, HERE)
        assert await ring.caller(new.text, "127.0.0.2")
        clock.now += 3
        with pytest.raises(InvalidKey):
            await ring.caller(new_key().text, HERE)

    run(tmp_path, check, clock=clock)


def test_addresses_of_one_ipv6_network_wait_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "FLOOR", 0.0)
    monkeypatch.setattr(keyring_module, "JITTER", 0.0)

    async def check(ring: Keyring) -> None:
        for number in range(BAD_A_MINUTE):
            with pytest.raises(InvalidKey):
                await ring.caller(new_key().text, f"2001:db8::{number:x}")
        with pytest.raises(RateLimited):
            await ring.caller(new_key().text, "2001:db8::ffff")
        with pytest.raises(InvalidKey):
            await ring.caller(new_key().text, "2001:db8:0:1::1")

    run(tmp_path, check, clock=Clock())


def test_every_refusal_ends_at_the_same_moment_however_long_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, turn = Clock(), 1e-5

    async def sleep(seconds: float) -> None:
        """As the loop's timers do it, which know whole milliseconds; without any, a turn."""
        clock.now += math.ceil(seconds * 1000) / 1000 or turn

    monkeypatch.setattr(keyring_module, "JITTER", 0.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def check(ring: Keyring) -> None:
        bad, look = await bad_keys(ring), ring.store.key

        async def slow(took: float, id: str) -> ApiKey | None:
            clock.now += took
            return await look(id)

        for text, took in product(bad.values(), (0.0003, 0.00032, 0.0041, FLOOR - 0.0001)):
            monkeypatch.setattr(ring.store, "key", partial(slow, took))
            begun = clock.now
            with pytest.raises(InvalidKey):
                await ring.caller(text, HERE)
            assert clock.now - begun == pytest.approx(FLOOR, abs=2 * turn)

    run(tmp_path, check, clock=clock)


def test_every_refusal_is_the_same_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring_module, "FLOOR", 0.0)
    done: list[str] = []

    def noted(name: str) -> None:
        work = getattr(hmac, name)

        def noting(*given: Any) -> Any:
            done.append(name)
            return work(*given)

        monkeypatch.setattr(hmac, name, noting)

    def asked(*said: Any) -> None:
        done.append(said[2])  # the statement

    async def check(ring: Keyring) -> None:
        bad, seen = await bad_keys(ring), {}
        event.listen(Engine, "before_cursor_execute", asked)
        try:
            for kind, text in bad.items():
                done.clear()
                with pytest.raises(InvalidKey):
                    await ring.caller(text, HERE)
                seen[kind] = tuple(done)
        finally:
            event.remove(Engine, "before_cursor_execute", asked)
        hashed, select, compared = seen["unknown"]
        assert (hashed, select.split()[0], compared) == ("new", "SELECT", "compare_digest")
        assert set(seen.values()) == {seen["unknown"]}

    noted("new")
    noted("compare_digest")
    run(tmp_path, check)


def test_use_is_noted(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        key = await added(ring)
        await ring.caller(key.text, HERE)
        kept = await ring.store.key(key.id)
        assert kept is not None
        assert kept.last_used_at is not None

    run(tmp_path, check)


def test_without_auth_everybody_is_the_local_admin(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        for text in ("", "anything"):
            caller = await ring.caller(text, HERE)
            assert (caller.id, caller.tenant) == ("local", "local")
            assert caller.may("admin")
            assert caller.rate == 0

    run(tmp_path, check, is_open=True)


def test_the_database_never_holds_a_key(tmp_path: Path) -> None:
    async def check(ring: Keyring) -> None:
        key = await added(ring)
        await ring.caller(key.text, HERE)
        keys.append(key)

    keys: list[KeyText] = []
    run(tmp_path, check)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert keys[0].id.encode() in content
    assert keys[0].text[14:57].encode() not in content
