"""P10, P4: a line to the database that breaks in every way, and clocks that disagree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from storm_client import connected, wish
from storm_proxy import Line, line_to

REQUESTS = 20


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
    "silent": (_hanging, {200, 503}),
}


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
            if answers == {503}:
                assert (await during).status == 503, during
        assert (await during).status in answers, name
        assert {each.status for each in await asyncio.gather(*asked)} == {200}

    async def story() -> Any:
        async with line_to(storm.database) as line:
            storm.database = line.url
            server = await storm.server().start()
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
        f"came, read-only: {len(world.records)} records, 0 lost, 0 drawn twice",
        under="a line that breaks",
    )


def test_servers_whose_clocks_disagree_share_a_queue(postgresql_storm: Any) -> None:
    """Leases are on the database's clock: two hours of difference neither end nor lengthen one."""
    storm = postgresql_storm

    async def story() -> Any:
        servers = [storm.server("behind", STORM_AHEAD="-3600"),
                   storm.server("ahead", STORM_AHEAD="3600")]  # fmt: skip
        for server in servers:
            await server.start()
        async with connected(servers[0].url, storm.history) as client:
            made = [await client.create(wish(f"clock {i}", steps=20)) for i in range(REQUESTS)]
            await servers[1].kill()
            for each in made:
                await client.ended(each.uuid)
        world = await storm.judged()
        assert await servers[0].stop() == 0
        return world

    world = storm.run(story)
    assert world.states() == {"SUCCESS": REQUESTS}
    storm.figure(
        "P4",
        f"the survivor of two servers drew {REQUESTS} of {REQUESTS} records, each once",
        under="clocks an hour behind and ahead",
    )
