"""Keeps the workers alive: starts them, lends the idle ones, replaces the lost ones."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from linocut.errors import LinocutError, Unavailable
from linocut.request import ImageRequest
from linocut.workers import rate
from linocut.workers.protocol import Condition, Ready, Worker

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 30.0
STARTING, IDLE, BUSY, DOWN = "starting", "idle", "busy", "down"
_log: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seat:
    """One worker's place: the workers change, the place stays.

    losses: since a worker here has last come to the end of a run.
    """

    number: int
    name: str
    state: str = STARTING
    reason: str = ""
    worker: Worker | None = None
    ready: Ready | None = None
    error: LinocutError | None = None
    losses: int = 0
    restarts: int = 0

    def condition(self) -> Condition:
        details: dict[str, Any] = {"last_loss": self.reason} if self.reason else {}
        return Condition(
            name=self.name,
            state=self.state,
            reason=self.reason if self.state in (STARTING, DOWN) else "",
            ready=self.ready,
            restarts=self.restarts,
            details=details,
        )


class Supervisor:
    """The workers of a server. `make(i)` makes the i-th worker, and again each time it is lost.

    first_pause, longest_pause: seconds before a lost one is replaced; the pause doubles with each
    loss in a row, and a row ends where a run does.
    """

    def __init__(
        self,
        make: Callable[[int], Worker],
        count: int = 1,
        *,
        first_pause: float = FIRST_PAUSE,
        longest_pause: float = LONGEST_PAUSE,
    ) -> None:
        self._make = make
        self._seats = tuple(_Seat(number, f"worker-{number}") for number in range(count))
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._changed = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    @property
    def count(self) -> int:
        """How many workers there are, in whatever state."""
        return len(self._seats)

    async def start(self) -> None:
        """Begin to start all workers; `ready` waits for the first."""
        self._keepers = [asyncio.create_task(self._keep(seat)) for seat in self._seats]

    async def ready(self) -> Ready:
        """Wait until a worker can draw; what it says of itself.

        Raises why none can, as CheckpointNotFound, once each has failed to start.
        """
        while not self._stopping:
            self._changed.clear()
            for seat in self._seats:
                if seat.ready is not None:
                    return seat.ready
            errors = [seat.error for seat in self._seats if seat.error is not None]
            if len(errors) == len(self._seats):
                raise errors[0]
            await self._changed.wait()
        raise self._stopped()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Worker, None]:
        """An idle worker, for as long as the block takes; waits for one. Unavailable at the end."""
        worker = await self._idle()
        try:
            yield worker
        finally:
            self.give_back(worker)

    def take(self) -> Worker | None:
        """An idle worker, lent until it is given back; None if there is none now."""
        for seat in self._seats:
            if seat.state == IDLE and seat.worker is not None and seat.worker.lost is None:
                seat.state = BUSY
                return seat.worker
        return None

    def give_back(self, worker: Worker) -> None:
        """It is idle again, if it still lives."""
        for seat in self._seats:
            if seat.worker is worker and seat.state == BUSY and worker.lost is None:
                seat.state = IDLE
        self._changed.set()

    def finished(self, worker: Worker) -> None:
        """A lent worker has come to the end of a run: its losses, if any come, count anew."""
        for seat in self._seats:
            if seat.worker is worker:
                seat.losses = 0

    def conditions(self) -> tuple[Condition, ...]:
        """How each worker is, and why."""
        return tuple(seat.condition() for seat in self._seats)

    def estimate(
        self,
        request: ImageRequest,
        sizes: Sequence[tuple[int, int]] = (),
        *,
        go_fast: bool = False,
    ) -> float | None:
        """Seconds that drawing takes on the slowest worker; None before the first was ready.

        sizes: (width, height) of the reference pictures.
        """
        seconds = []
        for seat in self._seats:
            if seat.ready is None:
                continue
            fast = seat.ready.fast if go_fast else None
            mode = rate.chosen_mode(request.mode, seat.ready.modes, fast)
            known = (seat.worker.rates if seat.worker else {}) or seat.ready.rates
            if mode in known:
                model = seat.ready.config
                seconds.append(rate.estimate(request, sizes, model=model, rate=known[mode]))
        return max(seconds, default=None)

    async def stop(self, grace: float = 0.0) -> None:
        """End all workers; runs have `grace` seconds to come to their end, then they are lost."""
        self._stopping = True
        self._changed.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while any(seat.state == BUSY for seat in self._seats):
                    self._changed.clear()
                    await self._changed.wait()
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._changed.set()

    async def _idle(self) -> Worker:
        while not self._stopping:
            self._changed.clear()
            if (worker := self.take()) is not None:
                return worker
            await self._changed.wait()
        raise self._stopped()

    def _stopped(self) -> Unavailable:
        return Unavailable("the server is stopping", retry_after=self._longest_pause)

    async def _keep(self, seat: _Seat) -> None:
        """A worker in the seat, and after each loss, and a pause, another one."""
        while True:
            worker = seat.worker = self._make(seat.number)
            try:
                seat.state = STARTING
                seat.ready, seat.error = await worker.start(), None
                seat.state = IDLE
                self._changed.set()
                error: LinocutError = await worker.gone()
            except LinocutError as failure:
                error = seat.error = failure
            finally:
                seat.state = DOWN
                await worker.stop()
            seat.reason, seat.losses = error.message, seat.losses + 1
            seat.restarts += 1
            self._changed.set()
            pause = min(self._longest_pause, self._first_pause * 2 ** min(seat.losses - 1, 30))
            _log.warning("%s: %s; the next one in %g s", seat.name, error.message, pause)
            await asyncio.sleep(pause)
