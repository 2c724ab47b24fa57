"""Whatever happens in whatever order: moves obey the table, stories end once, bills add up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linocut.jobs.record import ENDINGS, FINAL, MOVES, Record, State
from linocut.jobs.store import Store

ERROR = {"code": "worker_failed", "message": "it crashed", "hint": ""}
ACTS = (
    "submit", "claim", "claim", "append", "heartbeat", "succeed", "fail", "cancel", "settle",
    "release", "give back", "expire", "star", "delete",
)  # fmt: skip
# Which act, on which of the records, under the present fence or one that is stale.
STEP = st.tuples(st.sampled_from(ACTS), st.integers(0, 3), st.booleans())


@pytest.fixture
def together(url: str) -> Iterator[Callable[[Any], Any]]:
    """Runs stories on one store that stays open: opening one for each would take longer."""
    with asyncio.Runner() as runner:
        store = runner.run(Store.open(url))
        yield lambda story: runner.run(story(store))
        runner.run(store.close())


class Life:
    """A few records, what is known of them, and what is done to them."""

    def __init__(self, store: Store, jobs: Any, key: str) -> None:
        self.store, self.jobs, self.key = store, jobs, key
        self.seen: dict[str, Record] = {}
        self.bill = 0.0

    async def act(self, name: str, which: int, stale: bool) -> None:
        """Do one thing; then look at everything."""
        if name == "submit" or not self.seen:
            limits, sent = self.jobs.wide, self.jobs.submission(key_id=self.key, tenant=self.key)
            record = (await self.store.submit(sent, limits)).record
            self.seen[record.id] = record
        elif name == "claim":
            await self.store.claim("lane", 0.0)
        elif name == "expire":
            await self.store.expire_leases(2)
        else:
            await self._on_record(name, which, stale)
        await self._look()

    async def _on_record(self, name: str, which: int, stale: bool) -> None:
        record = list(self.seen.values())[which % len(self.seen)]
        id, fence = record.id, record.fence - stale
        may = record.state is State.PROCESSING and not stale
        if name in {"append", "heartbeat", "release", "give back"}:
            assert await self._as_worker(name, id, fence) is may
        elif name in {"succeed", "fail", "settle"}:
            await self._end(name, record, fence, may=may)
        elif name == "cancel":
            canceled = await self.store.cancel(self.key, id)
            assert canceled is not None
            assert canceled.is_final
        elif name == "star":
            assert await self.store.star(self.key, id, starred=stale)
        elif record.is_final:
            assert await self.store.delete(self.key, id) == ()
            del self.seen[id]

    async def _as_worker(self, name: str, id: str, fence: int) -> bool:
        if name == "append":
            return await self.store.append(id, fence, [("progress", {})])
        if name == "heartbeat":
            return await self.store.heartbeat(id, fence, 60)
        counted = name == "release"
        state = await self.store.release(
            id, fence, counted=counted, delay=0, error=ERROR, max_attempts=2
        )
        return state is not None

    async def _end(self, name: str, record: Record, fence: int, *, may: bool) -> None:
        current = fence == record.fence
        if name == "succeed":
            done = await self.store.succeed(record.id, fence, [], {"fence": fence}, 1.0)
            assert done is (may or (record.state is State.SUCCESS and current))
            self.bill += 1.0 * may
        elif name == "fail":
            done = await self.store.fail(record.id, fence, {"code": "x"}, 0.5)
            assert done is (may or (record.error == {"code": "x"} and current))
            self.bill += 0.5 * may
        else:
            await self.store.settle(replace(record, fence=fence), 0.25)
            owes = record.state is State.CANCELED and current and record.seconds == 0
            self.bill += 0.25 * owes

    async def _look(self) -> None:
        reserved = 0.0
        for id, before in self.seen.items():
            now = await self.store.record(self.key, id)
            assert now is not None
            if now.state is not before.state:
                assert now.state in MOVES[before.state] or now.attempt != before.attempt
            if before.state in FINAL:
                assert now.state is before.state
            assert now.fence >= before.fence
            assert 0 <= now.attempt <= min(2, now.fence)
            told = await self.jobs.kinds(self.store, id)
            endings = [kind for kind in told if kind in ENDINGS.values()]
            assert endings == ([ENDINGS[now.state]] if now.is_final else [])
            assert not endings or told[-1] == endings[0]
            reserved += 0 if now.is_final else now.estimate
            self.seen[id] = now
        used = await self.store.used_seconds(self.key)
        assert used == pytest.approx(reserved + self.bill)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEP, min_size=5, max_size=25), name=st.uuids())
def test_any_story_keeps_the_rules(together: Any, jobs: Any, steps: Any, name: Any) -> None:
    async def story(store: Store) -> None:
        life = Life(store, jobs, str(name))
        for step in steps:
            await life.act(*step)
        # What is left over must not be claimed in the next story.
        for id in life.seen:
            await store.cancel(life.key, id)

    together(story)


def test_a_final_state_is_never_left() -> None:
    assert {State.SUCCESS, State.FAILURE, State.CANCELED} == FINAL
