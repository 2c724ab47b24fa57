"""A dispatcher at work, for tests: real stores, and workers real or in memory."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from linocut.catalog import MINI
from linocut.errors import LinocutError
from linocut.events import Decoding, Encoding, Started, Step
from linocut.images.store import FolderStore
from linocut.jobs.bus import Bus
from linocut.jobs.dispatcher import Dispatcher
from linocut.jobs.record import Record, State
from linocut.jobs.runs import Runs, Timing
from linocut.jobs.schema import records
from linocut.jobs.store import Store
from linocut.request import ImageRequest
from linocut.workers.options import FAKE, Options, command
from linocut.workers.process import ChildProcess
from linocut.workers.protocol import (
    Finished,
    Job,
    Message,
    Rate,
    Ready,
    Refused,
    Stopped,
    Worker,
    WorkerLost,
)
from linocut.workers.supervisor import Supervisor

QUICK = Timing(poll=0.05, retry_delay=0.0, progress=0.0)
STEPS = 6


@dataclass
class Hand:
    """A worker in memory. It waits after step 2 until `go` is set or it is told to stop.

    refusal: what it says instead of a picture.   is_mute: it ends without any ending.
    began: set before it can hear a cancel; it then waits for `may_begin`.
    """

    number: int = 0
    refusal: LinocutError | None = None
    is_mute: bool = False
    name: str = "hand"
    rates: dict[str, Rate] = field(default_factory=dict)
    lost: WorkerLost | None = None
    jobs: list[Job] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    may_begin: asyncio.Event = field(default_factory=asyncio.Event)
    waits: asyncio.Event = field(default_factory=asyncio.Event)
    told_to_stop: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_begin.set()

    async def start(self) -> Ready:
        return Ready(
            checkpoint="hand",
            demo=True,
            device="cpu",
            modes=("exact",),
            fast=None,
            config=MINI,
            rates={},
        )

    async def run(self, job: Job) -> AsyncIterator[Message]:
        self.jobs.append(job)
        self.began.set()
        await self.may_begin.wait()
        self.told_to_stop.clear()
        yield Started("hand", "exact", 64, 64, STEPS)
        yield Encoding()
        for step in range(1, STEPS + 1):
            if self.told_to_stop.is_set():
                yield Stopped(i=step - 1, seconds=0.5)
                return
            self.drawn.append(step)
            yield Step(step, STEPS, 0.1, 0.1)
            if step == 2:
                await self._held()
        if self.refusal:
            yield Refused(error=self.refusal, seconds=0.75)
        elif not self.is_mute:
            yield Decoding()
            yield Finished(
                file=b"a picture of " + job.id.encode(), content_type="image/webp",
                width=64, height=64, metadata={"seed": 7}, seconds=1.25,
            )  # fmt: skip

    async def _held(self) -> None:
        self.waits.set()
        either = [asyncio.create_task(one.wait()) for one in (self.go, self.told_to_stop)]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in either:
                one.cancel()

    async def cancel(self) -> None:
        if self.began.is_set() and self.may_begin.is_set():
            self.told_to_stop.set()

    async def gone(self) -> WorkerLost:
        await self.is_stopped.wait()
        return WorkerLost("it was stopped")

    async def stop(self) -> None:
        self.is_stopped.set()


class Unborn(Hand):
    """A worker that never comes up."""

    async def start(self) -> Ready:
        await asyncio.Event().wait()
        raise AssertionError


def quick_hand(**said: Any) -> Hand:
    """One that waits for nobody."""
    hand = Hand(**said)
    hand.go.set()
    return hand


def child(*more: str) -> Callable[[int], Worker]:
    """Makes real fake workers."""
    line = command(Options(), "--step-seconds=0.002", *more, module=FAKE)
    return lambda number: ChildProcess(f"fake-{number}", line)


@dataclass
class Studio:
    """A dispatcher at work, and what it works with."""

    store: Store
    pictures: FolderStore
    supervisor: Supervisor
    dispatcher: Dispatcher
    running: asyncio.Task[None]
    jobs: Any

    async def ask(self, prompt: str = "a red apple", **said: Any) -> str:
        """The id of a new record."""
        size = {"width": 256, "height": 256, "num_inference_steps": said.pop("steps", 3)}
        request = ImageRequest(prompt=prompt, seed=7, **size)
        wanted = self.jobs.submission(prompt, request=request, **said)
        return str((await self.store.submit(wanted, self.jobs.wide)).record.id)

    async def record(self, id: str) -> Record:
        found = await self.store.record("ann", id)
        assert found is not None
        return found

    async def ended(self, id: str) -> Record:
        """The record at its end."""
        await until(lambda: self._has_ended(id))
        return await self.record(id)

    async def _has_ended(self, id: str) -> bool:
        return (await self.record(id)).is_final

    async def waits(self) -> None:
        """The lanes have looked for work, found none, and their workers are idle."""
        looked = self.jobs.fault(self.store, "claim", 0)

        async def is_waiting() -> bool:
            states = {one.state for one in self.supervisor.conditions()}
            return looked.calls >= self.supervisor.count and states == {"idle"}

        await until(is_waiting)

    async def idle(self) -> None:
        """No run is left."""

        async def is_idle() -> bool:
            return not self.dispatcher.runs.under_way

        await until(is_idle)

    async def column(self, id: str, name: str) -> Any:
        rows = await self.jobs.select_all(
            self.store, select(records.c[name]).where(records.c.id == id)
        )
        return rows[0][0]

    async def stages(self, id: str) -> list[tuple[str, int]]:
        """A record's written progress."""
        events = await self.store.events(id)
        told = [event.data for event in events if event.kind == "progress"]
        return [(data["stage"], data.get("step", 0)) for data in told]

    async def states(self, ids: Sequence[str]) -> list[tuple[State, int]]:
        """(state, attempt) of each."""
        found = [await self.record(id) for id in ids]
        return [(record.state, record.attempt) for record in found]

    async def has_only(self, *names: str) -> None:
        """Until these are all the files that lie in the store."""

        async def are_they() -> bool:
            return sorted(path.name for path in self.files()) == sorted(names)

        await until(are_they)

    def files(self) -> list[Path]:
        return [path for path in self.pictures.root.rglob("*") if path.is_file()]


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, a minute at most."""
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110 - there is no event for everything
            await asyncio.sleep(0.01)


Open = Callable[..., AbstractAsyncContextManager[Studio]]


@pytest.fixture
def studio(migrated_file: Path, tmp_path: Path, jobs: Any) -> Open:
    """`async with studio(hand) as s:` - a dispatcher over a store of its own.

    workers: in memory, one seat each, or what makes `count` of them.
    """
    path = tmp_path / "linocut.db"
    shutil.copy(migrated_file, path)

    @asynccontextmanager
    async def opened(
        *workers: Hand | Callable[[int], Worker],
        timing: Timing = QUICK,
        hears: bool = True,
    ) -> AsyncIterator[Studio]:
        store, bus = await Store.open(f"sqlite:///{path}"), Bus()
        if hears:
            store.wake, store.over = bus.notify, bus.notify_end
        store.told, store.work = bus.notify_followers, bus.notify_work
        pictures = FolderStore(tmp_path / "pictures")
        supervisor = Supervisor(
            lambda number: made if isinstance(made := workers[number], Hand) else made(number),
            len(workers),
            first_pause=0.01,
            longest_pause=0.01,
        )
        dispatcher = Dispatcher(Runs(store, supervisor, pictures, bus, timing=timing))
        await supervisor.start()
        running = asyncio.create_task(dispatcher.run())
        try:
            async with asyncio.timeout(120):
                yield Studio(store, pictures, supervisor, dispatcher, running, jobs)
            assert not running.done() or running.exception() is None
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await supervisor.stop()
            await store.close()

    return opened
