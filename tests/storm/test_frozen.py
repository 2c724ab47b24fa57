"""P4: a server that slept through its lease finds its run taken, and writes nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from storm_check import row
from storm_client import connected, wish

from linocut.errors import Unavailable
from linocut.jobs.store import Store

PATIENCE = 60.0
BEGUN = 2  # events: queued, and started by a worker
DROPPED = "dropped"  # what a server says of a picture that is not its own any more


async def _until(what: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not await what():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.05)


async def _frozen(server: Any, store: Store) -> None:
    """The server stands still, and holds no lock of the database."""
    for _ in range(100):
        server.send(signal.SIGSTOP)
        try:
            async with asyncio.timeout(1):
                await store.tidy()
        except (Unavailable, TimeoutError):
            server.send(signal.SIGCONT)
            await asyncio.sleep(0.1)
        else:
            return
    pytest.fail("it always held a lock")


def test_a_server_that_slept_through_its_lease_writes_nothing(storm: Any) -> None:
    """Two servers on one database, by turns: one freezes in a run, the other finishes it."""

    async def turn(store: Store, frozen: Any, awake: Any, number: int) -> None:
        await _frozen(awake, store)
        async with connected(frozen.url, storm.history) as client:
            made = await client.create(wish(f"sleeper {number}", steps=6))

        async def is_in(state: str, events: int = 0) -> bool:
            found = await row(store, made.uuid)
            return bool(found.state == state and found.last_seq >= events)

        await _until(lambda: is_in("PROCESSING", BEGUN))  # before that, it would only be stopped
        await _frozen(frozen, store)
        before = await row(store, made.uuid)
        assert before.state == "PROCESSING"
        awake.send(signal.SIGCONT)
        await _until(lambda: is_in("SUCCESS"))
        after = await row(store, made.uuid)
        assert after.fence > before.fence
        dropped = frozen.said.count(DROPPED)
        frozen.send(signal.SIGCONT)  # its worker's picture has long been waiting in the pipe

        async def has_dropped() -> bool:
            return bool(frozen.said.count(DROPPED) > dropped)

        await _until(has_dropped)
        await frozen.ready()
        assert await row(store, made.uuid) == after, "a late write"

    async def story() -> None:
        settings = {"LINOCUT_WORKER": "fake --step-seconds=0.3", "LINOCUT_WORKERS": "1"}
        one = storm.server("one", **settings)
        two = storm.server("two", **(settings | {"database": one.database}))
        await one.start()
        await two.start()
        store = await Store.open(one.database, busy_timeout=0.5)
        try:
            for number in range(storm.sizes.freezes):
                pair = (one, two) if number % 2 else (two, one)
                await turn(store, *pair, number)
        finally:
            await store.close()
        world = await storm.judged()
        assert await one.stop() == 0
        assert await two.stop() == 0
        assert world.states() == {"SUCCESS": storm.sizes.freezes}

    storm.run(story)
    most = storm.sizes.freezes
    storm.figure("P4", f"{most} servers frozen in a run for longer than its lease: "
                       f"{most} finished by another, 0 rows written late")  # fmt: skip
