"""What becomes of a record that was claimed: it is drawn, handed over, failed or given back.

A run keeps its lease by heartbeats; every write carries its fence, so whoever lost the lease writes
nothing. What was drawn is handed over until it is stored or the lease is lost: a picture is never
drawn twice because a database or a disk was away for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Any, Final, TypeVar

import structlog

from linocut.errors import (
    CheckFailed,
    ContentRefused,
    Later,
    LinocutError,
    NotFound,
    StorageUnavailable,
    Unavailable,
    WorkerFailed,
    to_stored,
)
from linocut.images.keys import storage_key
from linocut.images.store import PictureStore, forget
from linocut.jobs.bus import Bus
from linocut.jobs.progress import told
from linocut.jobs.record import Record, State, StoredFile
from linocut.jobs.store import Store
from linocut.workers.protocol import Finished, Job, Message, Refused, Stopped, Worker, WorkerLost
from linocut.workers.supervisor import Supervisor

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
_UNWANTED: Final = object()
PATIENCE_STEPS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds between tries; the last one repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How runs are kept alive and how often things are tried. Seconds.

    poll: how long a lane that was not woken waits before it looks for work.
    progress: the least time between two written steps; the last step is always written.
    storage_patience: how long a picture that cannot be stored or read is waited for before the
    record fails.
    """

    lease: float = 30.0
    heartbeat: float = 10.0
    poll: float = 1.0
    progress: float = 0.25
    max_attempts: int = 3
    retry_delay: float = 1.0
    storage_patience: float = 60.0


@dataclass(slots=True, eq=False)
class Run:
    """One record in one lane. `wanted` turns False when nobody waits for its picture any more."""

    record: Record
    worker: Worker
    wanted: bool = True
    began: float = field(default_factory=time.monotonic)  # when the worker got it
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


class Runs:
    """The runs that are under way here, each from its claim to its end."""

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
    ) -> None:
        self.store, self.supervisor, self.pictures, self.bus = store, supervisor, pictures, bus
        self.timing, self.prefix, self.embed_prompt = timing, prefix, embed_prompt
        self.under_way: set[Run] = set()
        self._quiet = asyncio.Event()  # nothing runs
        self._quiet.set()

    def begin(self, record: Record, worker: Worker) -> Run:
        """The run of a record that was claimed; `draw` is to follow."""
        run = Run(record, worker)
        self.under_way.add(run)
        self._quiet.clear()
        return run

    async def leave(self, grace: float) -> None:
        """Wait for what runs, so many seconds; then it is queued as if it had never been begun."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._quiet.wait()
        await asyncio.gather(*(self._give_back(run) for run in self.under_way))

    async def draw(self, run: Run) -> None:
        """Bring it to its end, and write that down; WorkerLost."""
        try:
            async with self._kept(run):
                await self._carry(run, await self._ending(run))
        except WorkerLost as lost:
            attempt = run.record.attempt
            log.warning("worker lost", record=run.id, attempt=attempt, reason=lost.message)
            if await self._retry(run, lost) is None:  # it was canceled
                await self._settle(run, time.monotonic() - run.began)
            raise
        finally:
            self.under_way.discard(run)
            if not self.under_way:
                self._quiet.set()

    async def _ending(self, run: Run) -> Message:
        """What the worker made of it; progress is written on the way, the last with the end."""
        try:
            job = await self._patiently(
                run, lambda: self._job(run.record), patience=self.timing.storage_patience
            )
        except (NotFound, StorageUnavailable) as error:
            return Refused(error=error, seconds=0.0)
        if not isinstance(job, Job):
            return Stopped(i=0, seconds=0.0)
        ending: Message | None = None
        run.began = time.monotonic()
        messages = run.worker.run(job)
        del job  # its references would be held for as long as the picture is drawn
        async for message in messages:
            if isinstance(message, Finished | Stopped | Refused):
                ending = message
            elif run.wanted:
                await self._tell(run, message)
            else:  # it may have begun after it was told to stop
                await run.worker.cancel()
        if ending is None:
            raise WorkerLost("the worker ended a run without saying how")
        self.supervisor.finished(run.worker)
        return ending

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
            case Refused(error=ContentRefused() as error):
                await self._fail(run, error, 0.0)
                await self._forget_references(run.record)
            case Refused(error=CheckFailed() as error):  # the operator's fault, not the caller's
                await self._fail(run, error, 0.0)
            case Refused(error=error, seconds=seconds):
                await self._fail(run, error, seconds)
            case Stopped(seconds=seconds):
                await self._settle(run, seconds)

    async def _hand_over(self, run: Run, finished: Finished) -> None:
        """The file first, durably; then the record that speaks of it."""
        file = self._file(run.record, finished)
        put = partial(self.pictures.put, file.key, finished.file)
        try:
            stored = await self._patiently(run, put, patience=self.timing.storage_patience)
            is_kept = stored is not _UNWANTED and await self._recorded(run, file, finished)
        except StorageUnavailable as error:
            await self._fail(run, error, 0.0)  # who asked has no picture, and could not help it
            is_kept = False
        if not is_kept:
            log.info("a picture is dropped", record=run.id)
            await forget(self.pictures, [file.key])
            await self._settle(run, finished.seconds)

    def _file(self, record: Record, finished: Finished) -> StoredFile:
        order = record.order
        prompt = order.request.prompt if self.embed_prompt else ""
        return StoredFile(
            key=storage_key(time.time(), self.prefix, prompt, order.output_format),
            tenant=record.tenant,
            kind="result",
            content_type=finished.content_type,
            size=len(finished.file),
            sha256=hashlib.sha256(finished.file).hexdigest(),
            width=finished.width,
            height=finished.height,
            record_id=record.id,
        )

    async def _recorded(self, run: Run, file: StoredFile, finished: Finished) -> bool:
        """False if the record is another's or over, so that it will never speak of the file.

        The database alone knows: a first answer may have been lost, and the record be final by
        this very run. If it says nothing for long, the file stays; the sweeper asks again.
        """
        result = {**finished.metadata, "seconds": round(finished.seconds, 3)}
        succeed = partial(
            self.store.succeed, run.id, run.fence, [file], result, finished.seconds,
            story=run.pending,
        )  # fmt: skip
        try:
            return await self._patiently(run, succeed, even_unwanted=True) is True
        except Unavailable:
            return True

    async def _fail(self, run: Run, error: LinocutError, seconds: float) -> None:
        fail = partial(
            self.store.fail, run.id, run.fence, to_stored(error), seconds, story=run.pending
        )
        with suppress(Unavailable):  # then its lease runs out
            await self._patiently(run, fail)

    async def _forget_references(self, record: Record) -> None:
        """No file of what was refused stays; an upload, which others may use, is its owner's."""
        keys = record.order.reference_keys
        with suppress(Unavailable):  # the sweeper removes them, a day later
            await forget(self.pictures, set(keys) - await self.store.known_keys(keys))

    async def _settle(self, run: Run, seconds: float) -> None:
        settle = partial(self.store.settle, run.record, seconds)
        with suppress(Unavailable):  # then it was for nothing
            await self._patiently(run, settle, even_unwanted=True)

    async def _retry(self, run: Run, lost: WorkerFailed) -> State | None:
        """Where the record stands now; None if it is not this run's any more."""
        release = self._release(run, counted=True, delay=self.timing.retry_delay, error=lost)
        with suppress(Unavailable):  # then its lease runs out
            now = await self._patiently(run, release)
            return now if isinstance(now, State) else None
        return None

    async def _give_back(self, run: Run) -> None:
        log.info("run goes back to the queue", record=run.id)
        run.wanted = False
        release = self._release(run, counted=False)
        with suppress(Unavailable):  # then its lease runs out
            await self._patiently(run, release, patience=1.0, even_unwanted=True)

    def _release(
        self, run: Run, *, counted: bool, delay: float = 0.0, error: LinocutError | None = None
    ) -> Callable[[], Awaitable[State | None]]:
        return partial(
            self.store.release,
            run.id,
            run.fence,
            counted=counted,
            delay=delay,
            error=to_stored(error) if error else {},
            max_attempts=self.timing.max_attempts,
        )

    async def _tell(self, run: Run, message: Message) -> None:
        """Note an event; steps come often, so only as many are written as people can follow."""
        kind, data = told(message)
        stage = data.get("stage")
        if stage and run.pending and run.pending[-1][1].get("stage") == stage:
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
            await asyncio.wait({watch})
            if not watch.cancelled():
                watch.result()

    async def _watch(self, run: Run) -> None:
        with self.bus.listen(run.id, follows=False) as ear:
            beat = time.monotonic()
            while run.wanted:
                rung = await ear.wait(max(0.0, beat + self.timing.heartbeat - time.monotonic()))
                try:
                    if ear.ended is not None:
                        alive = False
                    elif rung:
                        now = await self.store.record(run.record.tenant, run.id)
                        alive = now is not None and _is_held(now, run.fence)
                    else:
                        beat = time.monotonic()
                        alive = await self.store.heartbeat(run.id, run.fence, self.timing.lease)
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

        patience: seconds, then that is raised; without it, as long as the run is wanted, and for
        a while if it is not. `_UNWANTED` without asking if it is not, unless `even_unwanted`.
        """
        began, pauses = time.monotonic(), chain(PATIENCE_STEPS, repeat(PATIENCE_STEPS[-1]))
        while run.wanted or even_unwanted:
            try:
                return await write()
            except Later as error:
                most = math.inf if run.wanted else self.timing.storage_patience
                if time.monotonic() - began >= (most if patience is None else patience):
                    raise
                log.warning("tried again", record=run.id, reason=error.message)
            await asyncio.sleep(next(pauses))
        return _UNWANTED


def _is_held(record: Record, fence: int) -> bool:
    return record.state is State.PROCESSING and record.fence == fence
