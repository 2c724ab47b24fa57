"""Counts how records ended, from what is stored: each once, whoever ended it.

`note` hears of every change; `count` then asks the database what became of those records. So a
number on a page of metrics is a row in a table, and not the hope that nobody forgot to count.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from linocut.errors import Unavailable
from linocut.jobs.clock import millis
from linocut.jobs.record import FINAL, Record
from linocut.jobs.rows import record_of
from linocut.jobs.schema import files, records
from linocut.sizes import start_index

if TYPE_CHECKING:
    from linocut.jobs.store import Store

log = structlog.get_logger(__name__)

EVERY: Final = 5.0
PAGE: Final = 500
# What is told again is told within seconds: a canceled run is paid for, a lost answer asked for
# anew; and while the database is away, nothing else ends.
MOST_REMEMBERED: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What became of a record; nothing that tells whose it was. Seconds and bytes.

    waited: until its last run began; None if there was none.   ran: what its key paid.
    per_step: one denoising step; None where nothing was drawn.   stored: its pictures' files.
    """

    id: str
    state: str
    waited: float | None
    ran: float
    per_step: float | None
    stored: int


async def ended(connection: AsyncConnection, ids: Sequence[str], since: float) -> Sequence[Ended]:
    """Those of the records that have ended since then."""
    stored = (
        select(func.coalesce(func.sum(files.c.size), 0))
        .where(files.c.record_id == records.c.id, files.c.kind == "result")
        .scalar_subquery()
    )
    rows = await connection.execute(
        select(records, stored.label("stored")).where(
            records.c.id.in_(_padded(ids)),
            records.c.state.in_(FINAL),
            records.c.finished_at >= millis(since),
        )
    )
    return [_ended(record_of(row), int(row.stored)) for row in rows]


def _padded(ids: Sequence[str]) -> list[str]:
    """A power of two of them, the last one repeated.

    Each number is a statement of its own, and the driver keeps 128 of them a connection.
    """
    most = 1 << (len(ids) - 1).bit_length() if ids else 0
    return [*ids, *list(ids[-1:]) * (most - len(ids))]


def _ended(record: Record, stored: int) -> Ended:
    began = record.started_at
    return Ended(
        id=record.id,
        state=record.state,
        waited=None if began is None else max(0.0, began - record.created_at),
        ran=record.seconds,
        per_step=_per_step(record),
        stored=stored,
    )


def _per_step(record: Record) -> float | None:
    seconds = record.result.get("timings", {}).get("denoising")
    request = record.order.request
    steps = request.num_inference_steps
    if record.order.reference_keys:
        steps -= start_index(steps, request.prompt_strength)
    return seconds / steps if seconds is not None and steps > 0 else None


class Tally:
    """Tells `tell` of every record that ended since it was made, once."""

    def __init__(self, store: Store, tell: Callable[[Ended], None]) -> None:
        self.store, self.tell = store, tell
        self.since = store.time()
        self._changed: set[str] = set()
        self._told: set[int] = set()
        self._in_order: deque[int] = deque()

    def note(self, record_id: str) -> None:
        """Something about this record has changed."""
        if _short(record_id) not in self._told:
            self._changed.add(record_id)

    async def count(self) -> None:
        """Tell of all that has been noted; Unavailable leaves it noted."""
        changed, self._changed = self._changed, set()
        try:
            for page in _pages(changed):
                for one in await self.store.ended(page, self.since):
                    self._tell(one)
                changed.difference_update(page)
        finally:
            self._changed |= changed

    async def run(self) -> None:
        """Count for ever, so that what is noted does not pile up where nobody asks."""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.count()
            except Unavailable as error:
                log.warning("counting waits", reason=error.message)

    def _tell(self, one: Ended) -> None:
        short = _short(one.id)
        if short in self._told:
            return
        self._told.add(short)
        self._in_order.append(short)
        if len(self._in_order) > MOST_REMEMBERED:
            self._told.remove(self._in_order.popleft())
        self.tell(one)


def _short(record_id: str) -> int:
    """The random half of an id: a quarter of the memory, for what is remembered by thousands."""
    return int(record_id[-17:].replace("-", ""), 16)


def _pages(ids: Collection[str]) -> Iterator[list[str]]:
    waiting = iter(list(ids))
    while page := list(islice(waiting, PAGE)):
        yield page
