"""From the queue to the picture: claims records, has them drawn, and puts down what came of it.

A lane is one worker's life: claim, draw, hand over, again. A run keeps its lease by heartbeats;
every write carries its fence, so whoever lost the lease writes nothing. What was drawn is handed
over until it is stored or the lease is lost: a picture is never drawn twice because a database or
a disk was away for a while.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from linocut.errors import (
    ContentRefused,
    Later,
    LinocutError,
    NotFound,
    StorageUnavailable,
    Unavailable,
    WorkerFailed,
    to_stored,
)
from linocut.events import Decoding, Encoding, Started, Step
from linocut.images.keys import storage_key
from linocut.images.store import PictureStore
from linocut.jobs.bus import Bus
from linocut.jobs.record import Record, StoredFile
from linocut.jobs.store import Store
from linocut.workers.protocol import (
    Finished,
    Job,
    Message,
    PreviewFile,
    Refused,
    Stopped,
    Worker,
    WorkerLost,
)
from linocut.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
PATIENCE_STEPS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between tries; the last one repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How runs are kept alive and how often things are tried. Seconds.

    poll: how long a lane that was not woken waits before it looks for work.
    progress: the least time between two written steps; the last step is always written.
    storage_patience: how long a picture that cannot be stored is kept before the record fails.
    """

    lease: float = 30.0
    heartbeat: float = 10.0
    poll: float = 1.0
    progress: float = 0.25
    max_attempts: int = 3
    retry_delay: float = 1.0
    storage_patience: float = 60.0


@dataclass(slots=True)
class Run:
    """One record in one lane. `wanted` turns False when nobody waits for its picture any more."""

    record: Record
    worker: Worker
    wanted: bool = True
    kept_until: float = 0.0
    written: float = 0.0
    pending: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The record's."""
        return self.record.id

    @property
    def fence(self) -> int:
        """The claim's."""
        return self.record.fence


class Dispatcher:
    """Lanes from the store to the workers; one for each worker. Started once, drained once."""

    def __init__(
        self,
        store: Store,
        supervisor: Supervisor,
        pictures: PictureStore,
        bus: Bus,
        *,
        timing: Timing,
        prefix: str = "",
        embed_prompt: bool = True,
        name: str = "server",
    ) -> None:
        self.store, self.supervisor, self.pictures, self.bus = store, supervisor, pictures, bus
        self.timing, self.prefix, self.embed_prompt, self.name = timing, prefix, embed_prompt, name
        self._draining = asyncio.Event()
        self._runs: dict[str, Run] = {}
        self._lanes: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Draw until drained; ends early only with an error of the program's own."""
        async with asyncio.TaskGroup() as lanes:
            for number in range(self.supervisor.count):
                self._lanes.append(lanes.create_task(self._lane(number)))

    async def drain(self, grace: float) -> None:
        """Claim no more; what runs may finish within `grace` seconds, the rest goes back.

        What goes back is queued as if it had never been begun.
        """
        self._draining.set()
        self.bus.notify_work()
        lanes = [lane for lane in self._lanes if not lane.done()]
        if lanes:
            await asyncio.wait(lanes, timeout=grace)
        for run in list(self._runs.values()):
            log.info("run goes back to the queue", record=run.id)
            await self._patiently(run, partial(self._give_back, run), patience=1.0)
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)

    async def _lane(self, number: int) -> None:
        while not self._draining.is_set():
            with suppress(WorkerLost):  # the supervisor restarts it and keeps the reason
                async with self.supervisor.lend() as worker:
                    record = await self._claim(f"{self.name}/{number}")
                    if record is not None:
                        await self._draw(record, worker)

    async def _claim(self, lane: str) -> Record | None:
        """The next record; None after a while without one, or when the server is leaving."""
        with self.bus.listen_work() as ear:
            if self._draining.is_set():
                return None
            try:
                record = await self.store.claim(lane, self.timing.lease)
            except Unavailable as error:
                log.warning("no work can be claimed", reason=error.message)
                record = None
            if record is None:
                await ear.wait(self.timing.poll)
            return record

    async def _draw(self, record: Record, worker: Worker) -> None:
        run = Run(record, worker, kept_until=time.monotonic() + self.timing.lease)
        self._runs[run.id] = run
        try:
            async with self._kept(run):
                await self._carry(run, await self._ending(run))
        except WorkerLost as lost:
            failure = lost
            log.warning("worker lost", record=run.id, attempt=record.attempt, reason=lost.message)
            await self._patiently(run, lambda: self._retry(run, failure))
            raise
        finally:
            self._runs.pop(run.id, None)

    async def _ending(self, run: Run) -> Message:
        """What the worker made of it; its progress is written on the way."""
        try:
            job = await self._job(run.record)
        except (NotFound, StorageUnavailable) as error:
            return Refused(error=error, seconds=0.0)
        async for message in run.worker.run(job):
            if isinstance(message, Finished | Stopped | Refused):
                await self._flush(run)
                return message
            await self._tell(run, message)
        raise WorkerLost("the worker ended a run without saying how")

    async def _job(self, record: Record) -> Job:
        order = record.order
        files = [await self.pictures.read(key) for key in order.reference_keys]
        return Job(
            id=record.id,
            request=order.request,
            reference_files=tuple(files),
            go_fast=order.go_fast,
            output_format=order.output_format,
            output_quality=order.output_quality,
            embed_prompt=self.embed_prompt,
            check_safety=order.check_safety,
        )

    async def _carry(self, run: Run, ending: Message) -> None:
        """Write down how it ended, as long as it is still ours to write."""
        match ending:
            case Finished():
                await self._hand_over(run, ending)
            case Refused(error=error, seconds=seconds):
                paid = 0.0 if isinstance(error, ContentRefused) else seconds
                await self._fail(run, error, paid)
            case Stopped(seconds=seconds):
                await self._patiently(
                    run, lambda: self.store.settle(run.id, run.fence, seconds), even_unwanted=True
                )

    async def _hand_over(self, run: Run, finished: Finished) -> None:
        """The file first, durably; then the record that speaks of it."""
        order = run.record.order
        now, prompt = time.time(), order.request.prompt if self.embed_prompt else ""
        key = storage_key(now, self.prefix, prompt, order.output_format)
        file = StoredFile(
            key=key,
            tenant=run.record.tenant,
            kind="result",
            content_type=finished.content_type,
            size=len(finished.file),
            sha256=hashlib.sha256(finished.file).hexdigest(),
            width=finished.width,
            height=finished.height,
            record_id=run.id,
        )
        try:
            stored = await self._patiently(
                run,
                lambda: self.pictures.put(key, finished.file),
                patience=self.timing.storage_patience,
            )
        except StorageUnavailable as error:
            await self._fail(run, error, finished.seconds)
            return
        result = {**finished.metadata, "seconds": round(finished.seconds, 3)}
        recorded = stored is not _UNWANTED and await self._patiently(
            run,
            lambda: self.store.succeed(run.id, run.fence, [file], result, finished.seconds),
        )
        if recorded is not True:
            log.info("a picture that nobody waits for is dropped", record=run.id)
            with suppress(StorageUnavailable):
                await self.pictures.delete(key)
            await self.store.settle(run.id, run.fence, finished.seconds)

    async def _fail(self, run: Run, error: LinocutError, seconds: float) -> None:
        await self._patiently(
            run, lambda: self.store.fail(run.id, run.fence, to_stored(error), seconds)
        )

    async def _retry(self, run: Run, lost: WorkerFailed) -> None:
        await self.store.release(
            run.id,
            run.fence,
            counted=True,
            delay=self.timing.retry_delay,
            error=to_stored(lost),
            max_attempts=self.timing.max_attempts,
        )

    async def _give_back(self, run: Run) -> None:
        run.wanted = False
        await self.store.release(
            run.id,
            run.fence,
            counted=False,
            delay=0.0,
            error={},
            max_attempts=self.timing.max_attempts,
        )

    async def _tell(self, run: Run, message: Message) -> None:
        """Note an event; steps come often, so only as many are written as people can follow."""
        kind, data = _event(message)
        if kind == "progress" and run.pending and run.pending[-1][0] == "progress":
            run.pending.pop()
        run.pending.append((kind, data))
        now = time.monotonic()
        if kind != "progress" or now - run.written >= self.timing.progress:
            run.written = now
            await self._flush(run)

    async def _flush(self, run: Run) -> None:
        events, run.pending = run.pending, []
        if not events or not run.wanted:
            return
        try:
            if not await self.store.append(run.id, run.fence, events):
                await self._stop(run)
        except Unavailable as error:
            # Steps that could not be told are worth less than the picture.
            log.warning("progress is not written", record=run.id, reason=error.message)

    @asynccontextmanager
    async def _kept(self, run: Run) -> AsyncIterator[None]:
        """The lease is kept, and a cancel is heard, as long as this lasts."""
        watch = asyncio.create_task(self._watch(run))
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    async def _watch(self, run: Run) -> None:
        with self.bus.listen(run.id) as ear:
            beat = time.monotonic()
            while run.wanted:
                rung = await ear.wait(max(0.0, beat + self.timing.heartbeat - time.monotonic()))
                try:
                    if rung:
                        now = await self.store.record(run.record.tenant, run.id)
                        alive = now is not None and not now.is_final and now.fence == run.fence
                    else:
                        beat = time.monotonic()
                        alive = await self.store.heartbeat(run.id, run.fence, self.timing.lease)
                        run.kept_until = time.monotonic() + self.timing.lease
                except Unavailable as error:
                    log.warning("the lease is not renewed", record=run.id, reason=error.message)
                    continue
                if not alive:
                    await self._stop(run)

    async def _stop(self, run: Run) -> None:
        run.wanted = False
        await run.worker.cancel()

    async def _patiently(
        self,
        run: Run,
        write: Callable[[], Awaitable[Answer]],
        *,
        patience: float | None = None,
        even_unwanted: bool = False,
    ) -> Answer | object:
        """What `write` answers, asked again while the database or the disk is away.

        patience: seconds; without it, as long as the run is wanted. `_UNWANTED` when it is not.
        """
        began, tries = time.monotonic(), 0
        while True:
            if not run.wanted and not even_unwanted:
                return _UNWANTED
            try:
                return await write()
            except Later as error:
                waited = time.monotonic() - began
                if patience is not None and waited >= patience:
                    raise
                if even_unwanted and waited >= self.timing.storage_patience:
                    raise
                log.warning("tried again", record=run.id, reason=error.message)
            await asyncio.sleep(PATIENCE_STEPS[min(tries, len(PATIENCE_STEPS) - 1)])
            tries += 1


_UNWANTED: Final = object()


def _event(message: Message) -> tuple[str, dict[str, Any]]:
    """A worker's message as a line of the record's story."""
    match message:
        case Step(i=i, n=n, seconds=seconds, left=left):
            return "progress", {
                "stage": "drawing",
                "step": i,
                "steps": n,
                "seconds": round(seconds, 4),
                "left": round(left, 2),
            }
        case Started():
            return "started", {
                "checkpoint": message.checkpoint,
                "mode": message.mode,
                "drawn_width": message.drawn_width,
                "drawn_height": message.drawn_height,
                "steps": message.steps,
                "warnings": list(message.warnings),
            }
        case PreviewFile(i=i, data=data, width=width, height=height):
            uri = f"data:image/webp;base64,{base64.b64encode(data).decode()}"
            return "preview", {"step": i, "width": width, "height": height, "image": uri}
        case Encoding():
            return "progress", {"stage": "reading"}
        case Decoding():
            return "progress", {"stage": "decoding"}
    raise TypeError(f"{type(message).__name__} is no progress")
