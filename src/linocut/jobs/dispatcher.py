"""From the queue to the workers: who is idle claims what is next, and has it drawn.

A lane is one worker's life: claim, draw, again. Where a worker is idle when a request comes in, the
lane has nothing to look for: the request is claimed in the transaction that accepts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import structlog

from linocut.errors import Unavailable
from linocut.jobs.record import Record
from linocut.jobs.runs import Run, Runs
from linocut.jobs.terms import Offer
from linocut.workers.protocol import WorkerLost

log = structlog.get_logger(__name__)


class Dispatcher:
    """Lanes from the store to the workers; one for each worker. Started once, drained once."""

    def __init__(self, runs: Runs, *, name: str = "server") -> None:
        self.runs, self.name = runs, name
        self.store, self.supervisor, self.bus = runs.store, runs.supervisor, runs.bus
        self.timing = runs.timing
        self._tasks: set[asyncio.Task[None]] = set()
        self._claims = 0
        self._settled = asyncio.Event()  # nothing is being claimed
        self._settled.set()
        self._draining = False

    async def run(self) -> None:
        """Draw until drained; ends early only with an error of the program's own."""
        async with asyncio.TaskGroup() as tasks:

            def start(work: Coroutine[Any, Any, None]) -> None:
                task = tasks.create_task(work)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

            for number in range(self.supervisor.count):
                start(self._lane(number))
            self.store.offer = partial(self._offer, start)

    async def settle(self) -> bool:
        """Claim no more; whether anything runs, once what was being claimed is a run too.

        The workers do not know: one is lent also while its lane looks for work and finds none.
        """
        self._draining = True
        await self._settled.wait()
        return bool(self.runs.under_way)

    async def drain(self, grace: float) -> None:
        """Claim no more; what runs may finish within `grace` seconds, the rest goes back.

        What goes back is queued as if it had never been begun.
        """
        await self.settle()
        await self.runs.leave(grace)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _lane(self, number: int) -> None:
        while not self._draining:
            with self.bus.listen_work() as ear:  # what comes while it looks is not missed
                if not await self._turn(f"{self.name}/{number}"):
                    await ear.wait(self.timing.poll)

    async def _turn(self, lane: str) -> bool:
        """Whether there was something to draw; a worker is held no longer than that takes."""
        with suppress(WorkerLost):  # the supervisor restarts it and keeps the reason
            async with self.supervisor.lend() as worker:
                record = await self._claim(lane)
                if record is None:
                    return False
                await self.runs.draw(self.runs.begin(record, worker))
        return True

    async def _claim(self, lane: str) -> Record | None:
        """The next record; None if there is none, or when the server is leaving."""
        if self._draining:
            return None
        with self._claiming():
            try:
                return await self.store.claim(lane, self.timing.lease)
            except Unavailable as error:
                log.warning("no work can be claimed", reason=error.message)
                return None

    def _offer(self, start: Callable[[Coroutine[Any, Any, None]], None]) -> Offer | None:
        """An idle worker, for whoever brings work; None if there is none, or not for long."""
        worker = None if self._draining else self.supervisor.take()
        if worker is None:
            return None
        claiming = ExitStack()
        claiming.enter_context(self._claiming())

        def close(record: Record | None) -> None:
            with claiming:
                if record is None:
                    self.supervisor.give_back(worker)
                else:
                    start(self._offered(self.runs.begin(record, worker)))

        return Offer(lane=f"{self.name}/{worker.name}", lease=self.timing.lease, close=close)

    async def _offered(self, run: Run) -> None:
        try:
            with suppress(WorkerLost):
                await self.runs.draw(run)
        finally:
            self.supervisor.give_back(run.worker)

    @contextmanager
    def _claiming(self) -> Iterator[None]:
        """What is claimed meanwhile is waited for by who leaves."""
        self._claims += 1
        self._settled.clear()
        try:
            yield
        finally:
            self._claims -= 1
            if not self._claims:
                self._settled.set()
