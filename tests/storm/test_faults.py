"""P10, P4: a line to the database that breaks in every way, and clocks that disagree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import storm_crash
from storm_check import World, look
from storm_client import connected, wish
from storm_proxy import Line, line_to

PATIENCE = 60.0
REQUESTS = 20
WORKERS = 2  # of each server


@asynccontextmanager
async def _refused(line: Line, _: Any) -> AsyncIterator[None]:
    await line.refuse()
    yield
    await line.listen()


@asynccontextmanager
async def _hanging(line: Line, _: Any) -> AsyncIterator[None]:
    line.goes_on.clear()
    yield
    line.goes_on.set()


@asynccontextmanager
async def _forgetting(line: Line, _: Any) -> AsyncIterator[None]:
    line.forgets = True
    yield
    line.forgets = False


@asynccontextmanager
async def _cut(line: Line, storm: Any) -> AsyncIterator[None]:
    async def again_and_again() -> None:
        while True:
            line.cut()
            await asyncio.sleep(storm.chance.uniform(0.0, 0.1))

    cutting = asyncio.create_task(again_and_again())
    yield
    cutting.cancel()


@asynccontextmanager
async def _read_only(_: Line, storm: Any) -> AsyncIterator[None]:
    def allow(value: str) -> None:
        storm.postgresql.execute(
            "SET default_transaction_read_only = off",
            f"ALTER SYSTEM SET default_transaction_read_only = {value}",
            "SELECT pg_reload_conf()",
        )

    await asyncio.to_thread(allow, "on")
    yield
    await asyncio.to_thread(allow, "off")


Fault = Callable[[Line, Any], AbstractAsyncContextManager[None]]
FAULTS: dict[str, tuple[Fault, set[int]]] = {  # and what may be answered meanwhile
    "refused": (_refused, {503}),
    "read-only": (_read_only, {503}),
    "forgotten": (_forgetting, {503}),
    "cut": (_cut, {200, 503}),
    "silent": (_hanging, {503}),
}


def _num_again(world: World) -> int:
    """How often a record was begun once more; its story says each time that it went back before."""
    again = sum(record.attempt - 1 for record in world.records.values())
    told = [event.data for story in world.events.values() for event in story[1:]
            if event.kind == "queued"]  # fmt: skip
    assert [data["reason"] for data in told] == ["worker_failed"] * again
    return again


def test_whatever_the_line_to_the_database_does_nothing_is_lost(postgresql_storm: Any) -> None:
    storm = postgresql_storm

    async def one(line: Line, client: Any, name: str, turn: int) -> None:
        fault, answers = FAULTS[name]
        asked = [
            asyncio.create_task(client.create(wish(f"{name} {turn} {i}"), key=f"{name}-{turn}-{i}"))
            for i in range(REQUESTS)
        ]
        await asyncio.sleep(storm.chance.uniform(0.0, 0.8))
        async with fault(line, storm):
            during = asyncio.create_task(client.create(wish("now"), insist=False))
            await asyncio.sleep(storm.sizes.fault_seconds)
            if answers == {503}:  # a silent line goes on until the server has given it up
                assert (await during).status == 503, during
        assert (await during).status in answers, name
        assert {each.status for each in await asyncio.gather(*asked)} == {200}

    async def story() -> Any:
        async with line_to(storm.database) as line:
            storm.database = line.url
            server = storm.server(script=str(Path(storm_crash.__file__)))
            await server.start(STORM_DEADLINE="3")
            async with connected(server.url, storm.history) as client:
                for turn in range(storm.sizes.faults):
                    for name in FAULTS:
                        await one(line, client, name, turn)
                        await server.ready()
            world = await storm.judged()
            assert server.starts == 1
            assert await server.stop() == 0
            return world

    world = storm.run(story)
    assert set(world.states()) == {"SUCCESS"}
    storm.figure(
        "P10",
        f"{storm.sizes.faults} times each: connections refused, cut, silent, answers that never "
        f"came, read-only: {len(world.records)} records, 0 lost, each ended once, "
        f"{_num_again(world)} begun again after a lease had run out",
        under="a line that breaks",
    )


async def _both_draw(storm: Any) -> None:
    """Wait until more runs than one server has workers for."""
    end = time.monotonic() + PATIENCE
    while (await look(storm.database)).states().get("PROCESSING", 0) <= WORKERS:
        assert time.monotonic() < end, "the second server draws nothing"
        await asyncio.sleep(0.05)


def test_servers_whose_clocks_disagree_share_a_queue(postgresql_storm: Any) -> None:
    """Leases are on the database's clock: two hours of difference neither end nor lengthen one."""
    storm, lease, most = postgresql_storm, 3, 24

    async def story() -> Any:
        settings = {"LINOCUT_LEASE": str(lease), "LINOCUT_WORKER": "fake --step-seconds=0.04"}
        servers = [storm.server("behind", STORM_AHEAD="-3600", **settings),
                   storm.server("ahead", STORM_AHEAD="3600", **settings)]  # fmt: skip
        for server in servers:
            await server.start()
        async with connected(servers[0].url, storm.history) as client:
            asked = (client.create(wish(f"clock {i}", steps=20)) for i in range(most))
            made = await asyncio.gather(*asked)
            await _both_draw(storm)
            await asyncio.sleep(lease / 2)  # each has looked for leases of the other that ran out
            await _both_draw(storm)
            await servers[1].kill()
            for each in made:
                await client.ended(each.uuid)
        world = await storm.judged()
        assert await servers[0].stop() == 0
        return world

    world = storm.run(story)
    assert world.states() == {"SUCCESS": most}
    again = _num_again(world)
    assert 1 <= again <= WORKERS, "what the killed server was drawing, and nothing else"
    storm.figure(
        "P4",
        f"two servers with {WORKERS} workers each shared {most} records until one was killed: all "
        f"were drawn, {again} of them begun again",
        under="clocks an hour behind and ahead",
    )
