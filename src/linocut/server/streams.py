"""A record's story as server-sent events: what was written so far, then what comes, to its end.

`id` is the event's number in the story, so that a reader who was cut off goes on behind the last
one it saw. What carries no id is said to the moment only: the place in the queue as it moves, the
comment that keeps a silent line open, and the goodbye of a server that is leaving.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final

from linocut.errors import Unavailable, of_stored
from linocut.jobs.record import ENDINGS, Record, RecordEvent, State
from linocut.server.answers import answer
from linocut.server.context import Service
from linocut.server.problems import problem

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
RETRY_MS: Final = 2000
TICK: Final = 0.5  # how soon is noticed what nobody rings for: time is up, a caller is gone
POLL: Final = 2.0  # a change that another process made is seen after so long
KINDS: Final = frozenset(ENDINGS.values())


async def looks(
    service: Service, record_id: str, *, follows: bool = True
) -> AsyncGenerator[bool | Record, None]:
    """Whether to read the record again: when it changed, and now and then to be sure.

    In between, False: time passed and nothing else. Where this server has ended it, the record as
    it ended. Ends when the server is leaving.
    follows: at once, and also when the record's story grew. Who does not follow has just seen the
    record, looks at the first tick for what that moment may have hidden, and waits for what runs
    here: then it is due once more when the server begins to leave, and ends when nothing runs any
    more.
    """
    leaving = service.draining
    with service.bus.listen(record_id, follows=follows) as ear:
        rung, left = follows or leaving.on, leaving.on
        read_at = time.monotonic() - POLL + TICK
        while not (leaving.on if follows else leaving.done):
            now = time.monotonic()
            due = rung or now - read_at >= POLL or left != leaving.on
            left = leaving.on
            if due:
                read_at = now
            yield ear.ended or due
            rung = await ear.wait(TICK)


def frame(kind: str, data: Mapping[str, Any], seq: int | None = None) -> bytes:
    """One event on the wire."""
    number = "" if seq is None else f"id: {seq}\n"
    return f"{number}event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who reads a story. base: how links begin for them.   request_id: of their request."""

    base: str
    request_id: str


async def story(
    service: Service, record: Record, *, after: int, listener: Listener
) -> AsyncIterator[bytes]:
    """The record's events behind the number `after`, until it has ended or the server leaves."""
    yield f"retry: {RETRY_MS}\n\n".encode()
    spoken = time.monotonic()
    async with aclosing(looks(service, record.id)) as pulse:
        async for due in pulse:
            for event, told in await _news(service, record, after, listener) if due else ():
                after, spoken = event.seq, time.monotonic()
                yield told
                if event.kind in KINDS:
                    return
            # A tick early: the next one would be late.
            if time.monotonic() - spoken >= service.settings.sse_heartbeat - TICK:
                spoken = time.monotonic()
                yield b": still here\n\n"
                stands = await _stands(service, record, after)
                if stands is None:
                    return
                if stands:
                    yield stands
    yield frame("shutdown", {"uuid": record.id, "retry": RETRY_MS})


async def _news(
    service: Service, record: Record, after: int, listener: Listener
) -> Sequence[tuple[RecordEvent, bytes]]:
    """The events behind `after` and their frames; none while the database is away."""
    with suppress(Unavailable):  # the next look finds them
        found = await service.store.events(record.id, after)
        return [(event, await _told(service, record, event, listener)) for event in found]
    return ()


async def _stands(service: Service, record: Record, after: int) -> bytes | None:
    """The place of a record that waits, as a frame, else nothing; None if no event will come."""
    with suppress(Unavailable):
        now = await service.store.record(record.tenant, record.id)
        if now is None or (now.is_final and not await service.store.events(now.id, after)):
            return None
        if now.state is State.QUEUED:
            place = await service.store.place(now.id)
            return frame("queued", {"uuid": now.id, "place": place})
    return b""


async def _told(service: Service, record: Record, event: RecordEvent, listener: Listener) -> bytes:
    """The event as a frame; the last one brings the record as it ended."""
    data = {"uuid": record.id, **event.data}
    if event.kind in KINDS:
        ended = await service.store.record(record.tenant, record.id)
        if ended is not None:
            data["aiRecord"] = await answer(service, ended, listener.base)
            if ended.error is not None:
                data["error"] = problem(
                    of_stored(ended.error),
                    request_id=listener.request_id,
                    instance=f"/api/records/{record.id}",
                )
    return frame(event.kind, data, event.seq)
