"""The store: everything that is asked of the database, by name. SQLite and PostgreSQL alike.

Each method is one transaction on the database's clock. A database that does not answer is
`Unavailable`; no error of a driver comes out. A write that was begun is finished, even if its
caller goes away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.errors import LinocutError
from linocut.jobs import deliveries, endings, history, keys, queue, submit, tally, usage
from linocut.jobs import files as known_files
from linocut.jobs.clock import DAY
from linocut.jobs.database import Database, address, plain_errors
from linocut.jobs.migrate import migrate
from linocut.jobs.moves import Story, held
from linocut.jobs.record import Record, RecordEvent, State, StoredFile, Submission
from linocut.jobs.schema import turns
from linocut.jobs.sqlite import Work
from linocut.jobs.terms import ApiKey, Backlog, Delivery, Expired, Limits, Offer, Submitted

T = TypeVar("T")


class Store:
    """Records, events, files, keys and deliveries in one database.

    wake: called with a record's id after every commit that changed it for those who wait for it.
    over: called before that with the record itself, where its run or a cancel has ended it.
    told: called with its id after every commit by which its run went on: it began, its story grew.
    work: called after every commit that left something to claim.
    offer: asked by every submission for an idle worker, to be claimed for in the same transaction.
    """

    def __init__(self, database: Database) -> None:
        self.wake: Callable[[str], None] = lambda _id: None
        self.over: Callable[[Record], None] = lambda _record: None
        self.told: Callable[[str], None] = lambda _id: None
        self.work: Callable[[], None] = lambda: None
        self.offer: Callable[[], Offer | None] = lambda: None
        self._database = database
        self._begun: set[asyncio.Task[Any]] = set()
        self._ahead = 0.0  # of our clock

    @classmethod
    async def open(
        cls, url: str, *, busy_timeout: float = 5.0, backups: Path | None = None
    ) -> Store:
        """Open, with the schema of this version.

        url: "sqlite:///path" or "postgresql://user@host/name".
        backups: where an SQLite file is copied to before its schema is changed.
        """
        place = address(url)
        with plain_errors():
            await asyncio.to_thread(migrate, place, backups=backups)
        store = cls(Database(place, busy_timeout=busy_timeout))
        try:
            await store.ping()
            store._ahead = await store._read(usage.clock) - time.time()
        except LinocutError:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        await asyncio.gather(*self._begun, return_exceptions=True)
        await self._database.close()

    def time(self) -> float:
        """Seconds since 1970 by the database's clock, as far as it was ahead at the opening."""
        return time.time() + self._ahead

    async def ping(self) -> None:
        """Nothing, or Unavailable: whether the database answers and takes writes."""
        # It changes no row, but a database that can only be read refuses it.
        nothing = update(turns).where(turns.c.name == "").values(name="")
        await self._write(lambda c: c.execute(nothing))

    async def submit(self, submission: Submission, limits: Limits) -> Submitted:
        """A new QUEUED record, or the one that its Idempotency-Key stands for.

        Raises IdempotencyMismatch, QueueFull, QuotaExceeded.
        """
        return await self._to_the_end(self._submitted(submission, limits))

    async def _submitted(self, submission: Submission, limits: Limits) -> Submitted:
        offer, claimed = self.offer(), None
        try:
            new, claimed = await self._database.write(
                lambda c: submit.submit(c, submission, limits, offer)
            )
        finally:
            if offer is not None:
                offer.close(claimed)
        if not new.replayed:
            self.wake(new.record.id)
            self.work()
        return new

    async def replay(self, tenant: str, key: str, fingerprint: str) -> Record | None:
        """The record that an Idempotency-Key stands for; IdempotencyMismatch if asked otherwise."""
        return await self._read(lambda c: submit.replay(c, tenant, key, fingerprint))

    async def claim(self, worker: str, lease: float) -> Record | None:
        """The record whose turn it is, now PROCESSING with its next fence; None if none waits.

        The turn is the key's that has the fewest running, then that was served longest ago.
        """
        return await self._write(
            lambda c: queue.claim(c, worker, lease),
            changed=lambda record: [record.id] if record else [],
            onward=True,
        )

    async def heartbeat(self, id: str, fence: int, lease: float) -> bool:
        """Whether the run is still wanted; its lease now ends `lease` seconds from now."""
        return await self._write(lambda c: queue.heartbeat(c, id, fence, lease))

    async def append(self, id: str, fence: int, events: Story) -> bool:
        """Whether the run is still wanted; these events, (kind, data), now stand in its story."""
        return await self._write(
            lambda c: queue.append(c, id, fence, events), changed=_if_done(id), onward=True
        )

    async def succeed(
        self,
        id: str,
        fence: int,
        files: Sequence[StoredFile],
        result: Mapping[str, Any],
        seconds: float,
        *,
        story: Story = (),
    ) -> bool:
        """SUCCESS with these files, whose bytes are safe already; False if the fence is stale.

        Asked again after an answer that was lost, it is True again.
        story: what is still to be told before its end.
        """
        return await self._ended_so(
            id,
            lambda c: endings.succeed(
                c, id, fence, files=files, result=result, seconds=seconds, story=story
            ),
        )

    async def fail(
        self,
        id: str,
        fence: int,
        error: Mapping[str, Any],
        seconds: float,
        *,
        story: Story = (),
    ) -> bool:
        """FAILURE with this error, its story told up to there; False if the fence is stale."""
        return await self._ended_so(
            id, lambda c: endings.fail(c, id, fence, error, seconds=seconds, story=story)
        )

    async def _ended_so(self, id: str, work: Work[Record | None]) -> bool:
        return await self._write(work, changed=_if_done(id), ended=lambda now: now) is not None

    async def settle(self, run: Record, seconds: float) -> None:
        """A run that was canceled pays what it ran; once. run: the record as it was claimed."""
        await self._write(lambda c: endings.settle(c, run, seconds), changed=_if_done(run.id))

    async def release(
        self,
        id: str,
        fence: int,
        *,
        counted: bool,
        delay: float,
        error: Mapping[str, Any],
        max_attempts: int,
    ) -> State | None:
        """Back to QUEUED after `delay` seconds, or FAILURE with this error if its attempts are up.

        counted: whether this run counts as an attempt.   None if the fence is stale.
        """
        row = await self._write(
            lambda c: queue.release(
                c, held(id, fence), counted=counted, delay=delay, error=error,
                max_attempts=max_attempts,
            ),
            changed=_if_done(id),
            queued=True,
        )  # fmt: skip
        return State(row.state) if row is not None else None

    async def cancel(self, tenant: str, id: str) -> Record | None:
        """CANCELED if it was open, else as it is; None if it is not theirs."""
        record, _ = await self._write(
            lambda c: endings.cancel(c, tenant, id),
            changed=lambda answer: [id] if answer[1] else [],
            ended=lambda answer: answer[0] if answer[1] else None,
        )
        return record

    async def expire_leases(self, max_attempts: int) -> int:
        """How many runs were given up because nobody kept their lease."""
        lost = await self._read(queue.lost)
        return sum([await self._give_up(id, fence, max_attempts) for id, fence in lost])

    async def _give_up(self, id: str, fence: int, max_attempts: int) -> bool:
        return await self._write(
            lambda c: queue.give_up(c, id, fence, max_attempts), changed=_if_done(id), queued=True
        )

    async def record(self, tenant: str, id: str) -> Record | None:
        """A record of this tenant."""
        return await self._read(lambda c: history.record(c, tenant, id))

    async def records(
        self,
        tenant: str,
        *,
        limit: int,
        before: str | None = None,
        search: str = "",
        starred: bool | None = None,
    ) -> list[Record]:
        """A page of history, the newest first, older than the record `before`.

        search: part of the prompt, in any case.
        """
        return await self._read(
            lambda c: history.page(
                c, tenant, limit=limit, before=before, search=search, starred=starred
            )
        )

    async def events(self, id: str, after: int = 0) -> list[RecordEvent]:
        """A record's story after the event number `after`."""
        return await self._read(lambda c: history.story(c, id, after))

    async def ended(self, ids: Sequence[str], since: float) -> Sequence[tally.Ended]:
        """Those of the records that have ended since then: numbers, not whose they are."""
        return await self._read(lambda c: tally.ended(c, ids, since))

    async def place(self, id: str) -> int:
        """1 for the next in the queue; 0 for a record that does not wait."""
        return await self._read(lambda c: queue.place(c, id))

    async def backlog(self) -> Backlog:
        """How much is waiting and running."""
        return await self._read(queue.backlog)

    async def star(self, tenant: str, id: str, *, starred: bool) -> Record | None:
        """The record, starred or not; None if it is not theirs."""
        return await self._write(lambda c: history.star(c, tenant, id, starred=starred))

    async def delete(self, tenant: str, id: str) -> tuple[str, ...] | None:
        """The keys of its files, to be removed by the caller; Conflict while it is open."""
        return await self._write(
            lambda c: history.remove(c, tenant, id),
            changed=lambda keys: [id] if keys is not None else [],
        )

    async def add_file(self, file: StoredFile) -> None:
        """The database knows this file; Conflict if its key is taken."""
        await self._write(lambda c: known_files.add(c, file))

    async def file(self, key: str) -> StoredFile | None:
        """A file by its key, of whoever it is: compare `tenant`, unless a signed link asks."""
        return await self._read(lambda c: known_files.get(c, key))

    async def delete_file(self, tenant: str, key: str) -> bool:
        """Whether it was theirs; the database now knows it no more."""
        return await self._write(lambda c: known_files.remove(c, tenant, key))

    async def known_keys(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that the database knows."""
        return await self._read(lambda c: known_files.known(c, keys))

    async def expired_records(
        self, older_than: float | None, total_bytes: int | None, limit: int = 100
    ) -> list[Expired]:
        """Finished records, the oldest first, that are over an age or that there is no room for.

        older_than: seconds.   total_bytes: of all records' files.   Starred records are kept.
        """
        return await self._read(lambda c: history.expired(c, older_than, total_bytes, limit))

    async def expired_files(
        self, kind: str, older_than: float, limit: int = 100
    ) -> list[StoredFile]:
        """Files of this kind and of no record that nobody has used for `older_than` seconds."""
        return await self._read(lambda c: known_files.expired(c, kind, older_than, limit))

    async def add_key(self, key: ApiKey) -> ApiKey:
        """The key as it is kept; Conflict if its id is taken."""
        return await self._write(lambda c: keys.add(c, key))

    async def key(self, id: str) -> ApiKey | None:
        """A key by its id, revoked or not."""
        return await self._read(lambda c: keys.get(c, id))

    async def keys(self) -> list[ApiKey]:
        """All keys, the oldest first."""
        return await self._read(keys.all_keys)

    async def revoke_key(self, id: str) -> bool:
        """Whether there was such a key in force; it is not any more."""
        return await self._write(lambda c: keys.revoke(c, id))

    async def touch_key(self, id: str) -> None:
        """It was used now."""
        await self._write(lambda c: keys.touch(c, id))

    async def used_seconds(self, key_id: str) -> float:
        """What counts against a key's quota today (UTC): what ran, and what is reserved."""
        return await self._read(lambda c: usage.used_seconds(c, key_id))

    async def due_deliveries(self, limit: int, but: Collection[str] = ()) -> list[Delivery]:
        """Webhooks to send now, but none to these receivers; nobody else gets them for a minute."""
        return await self._write(lambda c: deliveries.take(c, limit, but))

    async def delivered(self, id: str) -> None:
        """This one arrived."""
        await self._write(lambda c: deliveries.sent(c, id))

    async def retry_delivery(self, id: str, delay: float, error: str, *, give_up: bool) -> None:
        """This one failed: send it again after `delay` seconds, or never."""
        await self._write(
            lambda c: deliveries.failed(c, id, delay=delay, error=error, give_up=give_up)
        )

    async def tidy(self) -> None:
        """Forget what has had its time: Idempotency-Keys, old deliveries, old usage."""
        await self._write(_tidy)

    async def _read(self, work: Work[T]) -> T:
        return await self._to_the_end(self._database.read(work))

    async def _write(
        self,
        work: Work[T],
        changed: Callable[[T], Iterable[str]] = lambda _: (),
        *,
        ended: Callable[[T], Record | None] = lambda _: None,
        queued: bool = False,
        onward: bool = False,
    ) -> T:
        """What `work` answers.

        changed: the records it changed.   ended: the one of them that it ended.
        queued: they may wait for a worker.   onward: their run went on; who waits is not woken.
        """

        async def write_and_tell() -> T:
            answer = await self._database.write(work)
            record = ended(answer)
            if record is not None:
                self.over(record)
            ids = list(changed(answer))
            for id in ids:
                (self.told if onward else self.wake)(id)
            if ids and queued:
                self.work()
            return answer

        return await self._to_the_end(write_and_tell())

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Whoever asked may go away in the middle; the transaction does not."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._begun.discard(task)
        if not task.cancelled():
            task.exception()  # seen, though its asker may be gone


def _if_done(id: str) -> Callable[[object], list[str]]:
    return lambda answer: [id] if answer else []


async def _tidy(connection: AsyncConnection) -> None:
    await submit.tidy(connection)
    await deliveries.tidy(connection)
    ms, _ = await usage.today(connection, "")
    await usage.tidy(connection, ms // DAY)
