"""Who waits for a record hears at once that it changed: in memory, for one process.

A second server on the same database is not heard here; whoever waits asks again after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from linocut.jobs.record import Record

_WORK = ""


class Ear:
    """What one listener has heard since it began to listen or last waited.

    follows: whether it also hears that a run goes on, and not only what changes for who waits.
    ended: the record at its end, where this process has ended it; nobody has to read it again.
    """

    def __init__(self, *, follows: bool) -> None:
        self.follows, self._rung = follows, asyncio.Event()
        self.ended: Record | None = None

    def ring(self) -> None:
        """Something changed."""
        self._rung.set()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 - a false answer, no error
        """True as soon as something changed since the last wait; False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Bus:
    """Rings for records that changed, and for work that may be claimed. For one event loop."""

    def __init__(self) -> None:
        self._ears: dict[str, set[Ear]] = {}

    def notify(self, record_id: str) -> None:
        """Wake everybody who listens to this record."""
        for ear in self._ears.get(record_id, ()):
            ear.ring()

    def notify_end(self, record: Record) -> None:
        """Everybody who listens to this record gets it as it ended."""
        for ear in self._ears.get(record.id, ()):
            ear.ended = record
            ear.ring()

    def notify_followers(self, record_id: str) -> None:
        """Wake those of them who follow its run from line to line."""
        for ear in self._ears.get(record_id, ()):
            if ear.follows:
                ear.ring()

    def notify_all(self) -> None:
        """Wake everybody who listens to anything: not a record has changed, but the server."""
        for ears in self._ears.values():
            for ear in ears:
                ear.ring()

    def notify_work(self) -> None:
        """Wake everybody who waits for something to claim."""
        self.notify(_WORK)

    @contextmanager
    def listen(self, record_id: str, *, follows: bool = True) -> Iterator[Ear]:
        """An ear for one record. Listen first and read then: what happens between is not missed."""
        ear = Ear(follows=follows)
        self._ears.setdefault(record_id, set()).add(ear)
        try:
            yield ear
        finally:
            ears = self._ears[record_id]
            ears.discard(ear)
            if not ears:
                del self._ears[record_id]

    @contextmanager
    def listen_work(self) -> Iterator[Ear]:
        """An ear for work that may be claimed."""
        with self.listen(_WORK) as ear:
            yield ear
