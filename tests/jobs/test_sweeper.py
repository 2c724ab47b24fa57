"""Housekeeping: what goes, and above all what stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from linocut.errors import StorageUnavailable
from linocut.images.store import FolderStore
from linocut.jobs import sweeper
from linocut.jobs.record import State
from linocut.jobs.schema import files, records
from linocut.jobs.store import Store
from linocut.jobs.sweeper import Keeping, Sweeper

HOUR = 3600.0
AWAY = StorageUnavailable("the disk is away", retry_after=1)


@dataclass
class House:
    """A store, its pictures, and a broom."""

    store: Store
    pictures: FolderStore
    jobs: Any

    def sweeper(self, **keeping: Any) -> Sweeper:
        return Sweeper(self.store, self.pictures, Keeping(**keeping))

    async def drawn(self, name: str, *, hours: float = 0.0, size: int = 1000) -> str:
        """The id of a finished record of that age, with a picture of so many bytes."""
        sent = await self.store.submit(self.jobs.submission(), self.jobs.wide)
        claimed = await self.store.claim("lane", 600)
        assert claimed is not None
        assert claimed.id == sent.record.id
        await self.put(name, size, hours=hours)
        file = self.jobs.file(name, size=size, record_id=claimed.id)
        assert await self.store.succeed(claimed.id, claimed.fence, [file], {}, 1.0)
        ended = update(records).where(records.c.id == claimed.id)
        past = records.c.finished_at - round(hours * HOUR * 1000)
        await self.jobs.change(self.store, ended.values(finished_at=past))
        return str(claimed.id)

    async def put(self, name: str, size: int = 10, *, hours: float = 0.0) -> None:
        """A file of that age."""
        await self.pictures.put(name, b"x" * size)
        then = time.time() - hours * HOUR
        os.utime(self.pictures.root / name, (then, then))

    async def uploaded(self, name: str, *, hours: float = 0.0, kind: str = "upload") -> None:
        """An upload, or a file of another kind, that was last used so long ago."""
        await self.put(name, hours=hours)
        await self.store.add_file(self.jobs.file(name, kind=kind))
        past = files.c.used_at - round(hours * HOUR * 1000)
        old = update(files).where(files.c.key == name).values(used_at=past)
        await self.jobs.change(self.store, old)

    async def ids(self) -> set[str]:
        return {record.id for record in await self.store.records("ann", limit=1000)}

    def names(self) -> set[str]:
        return {path.name for path in self.pictures.root.rglob("*") if path.is_file()}


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - there is no event for everything
            await asyncio.sleep(0.01)


@asynccontextmanager
async def sweeping(broom: Sweeper) -> AsyncIterator[None]:
    """It runs as long as the block does, whatever happens to it."""
    running = asyncio.create_task(broom.run())
    yield
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


Play = Callable[[Callable[[House], Awaitable[None]]], None]


@pytest.fixture
def play(migrated_file: Path, tmp_path: Path, jobs: Any) -> Play:
    """Runs a story in a house of its own."""
    path = tmp_path / "linocut.db"
    shutil.copy(migrated_file, path)

    async def told(story: Callable[[House], Awaitable[None]]) -> None:
        store = await Store.open(f"sqlite:///{path}")
        try:
            async with asyncio.timeout(120):
                await story(House(store, FolderStore(tmp_path / "pictures"), jobs))
        finally:
            await store.close()

    return lambda story: asyncio.run(told(story))


def test_a_run_that_nobody_keeps_goes_back_and_at_last_fails(play: Play) -> None:
    async def story(house: House) -> None:
        sent = await house.store.submit(house.jobs.submission(), house.jobs.wide)
        broom = house.sweeper(max_attempts=2)
        for state in (State.QUEUED, State.FAILURE):
            await house.store.claim("lane", -1)
            assert await broom.sweep_leases() == 1
            record = await house.store.record("ann", sent.record.id)
            assert record is not None
            assert record.state is state
        assert record.error is not None
        assert (record.error["code"], record.attempt) == ("worker_failed", 2)

    play(story)


def test_a_run_that_is_kept_stays(play: Play) -> None:
    async def story(house: House) -> None:
        await house.store.submit(house.jobs.submission(), house.jobs.wide)
        await house.store.claim("lane", 600)
        assert await house.sweeper().sweep_leases() == 0

    play(story)


def test_old_records_go_with_their_files_and_starred_ones_stay(play: Play) -> None:
    async def story(house: House) -> None:
        await house.drawn("old.webp", hours=3)
        starred = await house.drawn("starred.webp", hours=3)
        young = await house.drawn("young.webp", hours=1)
        waiting = (await house.store.submit(house.jobs.submission(), house.jobs.wide)).record.id
        await house.store.star("ann", starred, starred=True)
        assert await house.sweeper(records=2 * HOUR).sweep_records() == 1
        assert await house.ids() == {starred, young, waiting}
        assert house.names() == {"starred.webp", "young.webp"}

    play(story)


def test_the_oldest_records_make_room(play: Play) -> None:
    async def story(house: House) -> None:
        starred = await house.drawn("starred.webp", hours=9)
        await house.drawn("older.webp", hours=5)
        await house.drawn("old.webp", hours=4)
        young = await house.drawn("young.webp", hours=1)
        await house.store.star("ann", starred, starred=True)
        assert await house.sweeper(total_bytes=2000).sweep_records() == 2
        assert await house.ids() == {starred, young}
        assert house.names() == {"starred.webp", "young.webp"}
        assert await house.sweeper(total_bytes=2000).sweep_records() == 0

    play(story)


def test_room_that_starred_records_take_is_nobodys_to_make(play: Play) -> None:
    async def story(house: House) -> None:
        starred = await house.drawn("starred.webp")
        await house.store.star("ann", starred, starred=True)
        assert await house.sweeper(total_bytes=0).sweep_records() == 0
        assert house.names() == {"starred.webp"}

    play(story)


def test_more_records_than_a_page_go_at_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 2)

    async def story(house: House) -> None:
        for number in range(5):
            await house.drawn(f"{number}.webp", hours=3)
        assert await house.sweeper(records=HOUR).sweep_records() == 5
        assert (await house.ids(), house.names()) == (set(), set())

    play(story)


def test_uploads_go_when_nobody_has_used_them_for_long(play: Play) -> None:
    async def story(house: House) -> None:
        await house.uploaded("old.webp", hours=3)
        await house.uploaded("young.webp", hours=1)
        await house.drawn("drawn.webp", hours=9)
        assert await house.sweeper(uploads=2 * HOUR).sweep_uploads() == 1
        assert house.names() == {"young.webp", "drawn.webp"}
        assert await house.store.file("old.webp") is None

    play(story)


def test_fetched_pictures_that_came_to_no_record_go_after_a_day(play: Play) -> None:
    async def story(house: House) -> None:
        await house.uploaded("upload.webp", hours=90)
        await house.uploaded("old.webp", hours=25, kind="reference")
        await house.uploaded("young.webp", hours=23, kind="reference")
        await house.sweeper().sweep_all()
        assert house.names() == {"upload.webp", "young.webp"}
        assert await house.store.known_keys(["old.webp", "young.webp"]) == {"young.webp"}

    play(story)


def test_files_that_no_record_knows_go_only_when_they_are_old(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 2)

    async def story(house: House) -> None:
        for number in range(3):
            await house.put(f"orphan-{number}.webp", hours=3)
        await house.put("just-stored.webp", hours=1)
        await house.drawn("known.webp", hours=9)
        await house.uploaded("upload.webp", hours=9)
        assert await house.sweeper(orphans=2 * HOUR).sweep_orphans() == 3
        assert house.names() == {"just-stored.webp", "known.webp", "upload.webp"}

    play(story)


def test_everything_is_kept_for_ever_unless_told_otherwise(play: Play) -> None:
    async def story(house: House) -> None:
        id = await house.drawn("drawn.webp", hours=90_000)
        await house.uploaded("upload.webp", hours=90_000)
        await house.sweeper().sweep_all()
        assert await house.ids() == {id}
        assert house.names() == {"drawn.webp", "upload.webp"}

    play(story)


def test_leftovers_of_interrupted_writes_go(play: Play) -> None:
    async def story(house: House) -> None:
        left, young = (house.pictures.root / f".linocut-{name}.part" for name in ("a", "b"))
        for path in (left, young):
            path.write_bytes(b"half")
        then = time.time() - 3 * HOUR
        os.utime(left, (then, then))
        await house.sweeper(orphans=2 * HOUR).sweep_all()
        assert house.names() == {young.name}

    play(story)


def test_what_is_left_of_a_record_when_the_disk_was_away_goes_later(play: Play, jobs: Any) -> None:
    async def story(house: House) -> None:
        await house.drawn("old.webp", hours=3)
        broom = house.sweeper(records=HOUR, orphans=2 * HOUR)
        fault = jobs.fault(house.pictures, "delete", 1, error=AWAY)
        with pytest.raises(StorageUnavailable):
            await broom.sweep_all()
        assert (await house.ids(), house.names()) == (set(), {"old.webp"})
        await broom.sweep_all()
        assert (house.names(), fault.left) == (set(), 0)

    play(story)


@pytest.mark.parametrize("method", ["expire_leases", "expired_records", "known_keys", "tidy"])
def test_sweeping_goes_on_when_the_database_is_there_again(
    play: Play, jobs: Any, method: str
) -> None:
    async def story(house: House) -> None:
        await house.drawn("old.webp", hours=3)
        await house.put("orphan.webp", hours=9)
        fault = jobs.fault(house.store, method, 2)
        broom = house.sweeper(lease=0.02, every=0.0, records=2 * HOUR, orphans=HOUR)
        async with sweeping(broom):
            await until(lambda: not house.names() and fault.calls > 2)

    play(story)


def test_after_a_silence_of_the_database_runs_have_time_to_renew_their_leases(
    play: Play, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    sleep = asyncio.sleep

    async def story(house: House) -> None:
        fault = jobs.fault(house.store, "expire_leases", 1)
        silence = jobs.fault(house.store, "ping", 2)

        async def noted(seconds: float) -> None:
            if silence.calls > 2:  # the time before it was back counts for nobody
                slept.append(seconds)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", noted)
        async with sweeping(house.sweeper(lease=1000.0)):
            while fault.calls < 2:
                await sleep(0)
        assert slept.count(1000.0) == 1

    play(story)


@pytest.mark.parametrize("method", ["keys", "sweep", "delete"])
def test_a_disk_that_hangs_holds_up_no_lease(play: Play, method: str) -> None:
    async def story(house: House) -> None:
        await house.put("orphan.webp", hours=9)
        sent = await house.store.submit(house.jobs.submission(), house.jobs.wide)
        broom = house.sweeper(lease=0.2, max_attempts=1, orphans=HOUR)
        begun, whole = asyncio.Event(), getattr(house.pictures, method)

        async def hangs(*_: object) -> None:
            begun.set()
            await asyncio.Event().wait()

        setattr(house.pictures, method, hangs)
        async with sweeping(broom):
            await begun.wait()
            await house.store.claim("lane", -1)

            async def has_failed() -> bool:
                record = await house.store.record("ann", sent.record.id)
                return record is not None and record.state is State.FAILURE

            while not await has_failed():  # noqa: ASYNC110 - there is no event for everything
                await asyncio.sleep(0.01)
        setattr(house.pictures, method, whole)
        await broom.sweep_all()
        assert house.names() == set()

    play(story)


def test_leases_are_looked_at_more_often_than_the_rest(play: Play, jobs: Any) -> None:
    async def story(house: House) -> None:
        leases = jobs.fault(house.store, "expire_leases", 0)
        rest = jobs.fault(house.store, "tidy", 0)
        async with sweeping(house.sweeper(lease=0.02, every=1e9)):
            await until(lambda: leases.calls >= 5)
        assert rest.calls == 1

    play(story)
