"""The one checker: what clients were told, against what the database and the store hold."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from storm_client import FINAL, History

from linocut.errors import NotFound
from linocut.images.store import FolderStore
from linocut.jobs.record import ENDINGS, State
from linocut.jobs.schema import events, files, idempotency, records
from linocut.jobs.store import Store
from linocut.jobs.sweeper import Keeping, Sweeper

ENDS: Final = {str(state): kind for state, kind in ENDINGS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is there in the end. pictures: SHA-256 of the stored bytes, by key; no uploads."""

    records: Mapping[str, Any]
    events: Mapping[str, Sequence[Any]]
    files: Mapping[str, Sequence[Any]]
    keys: Mapping[str, str]
    pictures: Mapping[str, str]

    def states(self) -> dict[str, int]:
        """How many records ended how."""
        counted: dict[str, int] = defaultdict(int)
        for record in self.records.values():
            counted[record.state] += 1
        return dict(counted)

    @property
    def num_open(self) -> int:
        """How many records have not ended."""
        return sum(record.state not in FINAL for record in self.records.values())

    @property
    def is_settled(self) -> bool:
        """Whether every record has ended."""
        return self.num_open == 0


async def look(url: str, *folders: Path, sweep: bool = False) -> World:
    """The database, and the pictures of the folders.

    sweep: pictures that no record knows are removed first, as the server does after a day.
    """
    store = await Store.open(url)
    try:
        if sweep:
            for folder in folders:
                await Sweeper(store, FolderStore(folder), Keeping(orphans=0.0)).sweep_orphans()
        rows = {
            table.name: await _rows(store, select(table)) for table in (records, files, idempotency)
        }
        told = await _rows(store, select(events).order_by(events.c.record_id, events.c.seq))
    finally:
        await store.close()
    uploads = {row.key for row in rows["files"] if row.kind == "upload"}
    pictures = await _pictures(folders)
    return World(
        records={row.id: row for row in rows["records"]},
        events=_by_record(told),
        files=_by_record(row for row in rows["files"] if row.kind == "result"),
        keys={row.key: row.record_id for row in rows["idempotency"]},
        pictures={key: sha256 for key, sha256 in pictures.items() if key not in uploads},
    )


async def row(store: Store, uuid: str) -> Any:
    """A record as it is stored now."""
    (found,) = await _rows(store, select(records).where(records.c.id == uuid))
    return found


async def settled(url: str, *folders: Path, patience: float = 120.0) -> World:
    """The world once every record has ended, or when none has for so many seconds; then swept."""
    left, since = -1, time.monotonic()
    while not (world := await look(url)).is_settled:
        if world.num_open != left:
            left, since = world.num_open, time.monotonic()
        elif time.monotonic() > since + patience:
            break
        await asyncio.sleep(0.5)
    return await look(url, *folders, sweep=True)


async def _rows(store: Store, statement: Any) -> Sequence[Any]:
    async def work(connection: Any) -> Sequence[Any]:
        return (await connection.execute(statement)).all()  # type: ignore[no-any-return]

    return await store._database.read(work)


def _by_record(rows: Any) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for row in rows:
        found[row.record_id].append(row)
    return dict(found)


async def _pictures(folders: Sequence[Path]) -> dict[str, str]:
    found = {}
    for folder in folders:
        store = FolderStore(folder)
        for key in await store.keys(0.0):
            try:
                found[key] = hashlib.sha256(await store.read(key)).hexdigest()
            except NotFound:
                continue
    return found


def faults(history: History, world: World) -> list[str]:
    """Every promise that was broken, in words; empty if none was."""
    checks = (_lost, _ends, _stories, _results, _orphans, _keys, _answers, _told, _streams)
    return [fault for check in checks for fault in check(history, world)]


def _lost(history: History, world: World) -> Iterator[str]:
    for uuid in history.acknowledged - set(world.records):
        yield f"lost: {uuid} was acknowledged"


def _ends(_: History, world: World) -> Iterator[str]:
    for record in world.records.values():
        ends = [one.kind for one in world.events.get(record.id, ()) if one.kind in ENDS.values()]
        if record.state not in FINAL:
            yield f"stuck: {record.id} is {record.state} after {record.attempt} attempts"
        if ends != ([ENDS[record.state]] if record.state in FINAL else []):
            yield f"ended otherwise: {record.id} is {record.state}, its story says {ends}"


def _stories(_: History, world: World) -> Iterator[str]:
    for id, story in world.events.items():
        if [event.seq for event in story] != list(range(1, len(story) + 1)):
            yield f"gap: the story of {id}"
        if id in world.records and story[-1].kind not in ENDS.values():
            yield f"afterwards: {id} goes on behind its end, or has none"


def _results(_: History, world: World) -> Iterator[str]:
    for record in world.records.values():
        known = world.files.get(record.id, ())
        if len(known) != (record.state == State.SUCCESS):
            yield f"files: {record.id} is {record.state} with {len(known)}"
        if [file.key for file in known] != list(record.result_keys):
            yield f"files: {record.id} names others than it has"
        for file in known:
            if world.pictures.get(file.key) != file.sha256:
                yield f"bytes: {file.key} of {record.id} is missing or another"


def _orphans(_: History, world: World) -> Iterator[str]:
    known = {file.key for owned in world.files.values() for file in owned}
    for key in set(world.pictures) - known:
        yield f"orphan: {key} is nobody's after the sweep"


def _keys(history: History, world: World) -> Iterator[str]:
    for call in history.calls:
        if call.what == "create" and call.key and call.uuid and call.status < 400:
            meant = world.keys.get(call.key)
            if meant != call.uuid:
                yield f"doubled: key {call.key} led to {call.uuid}, and to {meant}"
    for key in {call.key for call in history.calls if call.key} - set(world.keys):
        if any(call.key == key and call.uuid for call in history.calls):
            yield f"forgotten: key {key}"


def _answers(history: History, _: World) -> Iterator[str]:
    for call in history.calls:
        if not call.is_whole:
            yield f"malformed: {call}"
        if call.status >= 500 and call.status != 503:
            yield f"server error: {call}"
        if call.status in {429, 503} and not call.retry_after.isdigit():
            yield f"no Retry-After: {call}"


def _told(history: History, world: World) -> Iterator[str]:
    """Whoever was told of an end was told the one there is."""
    for call in history.calls:
        record = world.records.get(call.uuid)
        if call.state in FINAL and (record is None or record.state != call.state):
            yield f"stale: {call.uuid} was {call.state}, and is {record and record.state}"


def _streams(history: History, world: World) -> Iterator[str]:
    for uuid, seen in history.stories.items():
        story = {event.seq: event.kind for event in world.events.get(uuid, ())}
        for number, kind in seen:
            if story.get(number) != kind:
                yield f"stream: {uuid} told {number} {kind}, its story says {story.get(number)}"
