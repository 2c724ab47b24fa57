"""P10, P11: a database or a disk that is away for a while."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import storm_crash
from storm_check import look
from storm_client import connected, wish

DISK = 1_000_000


def test_a_database_that_is_away_loses_nothing(postgresql_storm: Any) -> None:
    storm = postgresql_storm

    async def story() -> tuple[Any, float]:
        server, waits = await storm.server().start(), []
        async with connected(server.url, storm.history) as client:
            for outage in range(storm.sizes.outages):
                asked = [
                    asyncio.create_task(client.create(wish(f"{outage} {i}"), key=f"o-{outage}-{i}"))
                    for i in range(30)
                ]
                await asyncio.sleep(storm.chance.uniform(0.0, 0.8))
                await asyncio.to_thread(storm.postgresql.stop)
                during = await client.create(wish("now"), insist=False)
                assert during.status == 503, during
                await asyncio.sleep(storm.chance.uniform(0.0, storm.sizes.outage_seconds))
                await asyncio.to_thread(storm.postgresql.start)
                back = time.monotonic()
                await server.ready()
                waits.append(time.monotonic() - back)
                assert {each.status for each in await asyncio.gather(*asked)} == {200}
        world = await storm.judged()
        assert server.starts == 1
        assert await server.stop() == 0
        return world, max(waits)

    world, slowest = storm.run(story)
    assert set(world.states()) == {"SUCCESS"}
    most = storm.sizes.outage_seconds
    storm.figure("P10", f"{storm.sizes.outages} stops of PostgreSQL under load, for up to {most:g} "
                        f"s: 503 and Retry-After meanwhile, {len(world.records)} records, 0 lost; "
                        f"ready again within {slowest:.1f} s")  # fmt: skip


@contextmanager
def _small_disk(place: Path) -> Iterator[dict[str, str]]:
    """A disk of its own for who may mount one, else a server that is told it is full."""
    place.mkdir(parents=True)
    line = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "storm", str(place)]
    if os.geteuid() or subprocess.run(line, capture_output=True, check=False).returncode:
        yield {"STORM_FULL": str(place / "filler")}
        return
    try:
        yield {}
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(place: Path) -> Path:
    filler, left = place / "filler", os.statvfs(place)
    filler.write_bytes(b"x" * min(left.f_bavail * left.f_frsize, DISK))
    return filler


def test_a_full_disk_repeats_no_run_and_leaves_no_part(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def story(server: Any, disk: dict[str, str]) -> None:
        await server.start(STORM_PATIENCE="3", **disk)
        async with connected(server.url, storm.history) as client:
            filler = _fill(server.pictures)
            kept = await client.create(wish("kept until there is room"))
            await server.says("tried again")
            filler.unlink()
            assert (await client.ended(kept.uuid)).state == "SUCCESS"
            filler = _fill(server.pictures)
            lost = await client.create(wish("no room at all"))
            assert (await client.ended(lost.uuid)).state == "FAILURE"
            filler.unlink()
            after = await client.create(wish("room again"))
            assert (await client.ended(after.uuid)).state == "SUCCESS"
        world = await storm.judged()
        assert world.records[lost.uuid].error["code"] == "storage_unavailable"
        assert {record.attempt for record in world.records.values()} == {1}
        for events in world.events.values():
            assert [event.kind for event in events].count("started") == 1
        assert not list(server.pictures.rglob("*.part"))
        assert await server.stop() == 0
        assert len((await look(server.database, server.pictures)).pictures) == 2

    server = storm.server(script=str(Path(storm_crash.__file__)))
    with _small_disk(server.pictures) as disk:
        storm.run(lambda: story(server, disk))
    storm.figure("P11", "a picture that found the disk full was stored when there was room, "
                        "another failed as storage_unavailable; each was drawn once, "
                        "no part of a file stayed")  # fmt: skip
