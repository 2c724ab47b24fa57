"""P1, P2: whatever is killed, nothing acknowledged is lost, doubled or stuck."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

from storm_client import Client, connected, wish

PATIENCE = 30.0


async def _ask(client: Client, number: int) -> str:
    """Half of the requests carry a key, and are sent twice."""
    body = wish(f"picture {number}", seed=number)
    key = f"kill-{number}" if number % 2 else ""
    made = await client.create(body, key=key)
    if key:
        await client.create(body, key=key)
    return made.uuid


async def _kill_a_worker(storm: Any, server: Any) -> None:
    """One that ran is dead; if there is none now, it is waited for."""
    end = time.monotonic() + PATIENCE
    while not (workers := server.workers()):
        assert time.monotonic() < end, f"it has no worker:\n{server.said[-3000:]}"
        await asyncio.sleep(0.02)
    pid = storm.chance.choice(workers)
    os.kill(pid, signal.SIGKILL)  # nobody else ends workers here: it must be there
    while pid in server.workers():
        assert time.monotonic() < end, f"{pid} does not die"
        await asyncio.sleep(0.02)


def test_nothing_acknowledged_is_lost_or_doubled_by_kills(storm: Any) -> None:
    sizes, chance = storm.sizes, storm.chance
    batch = sizes.jobs // sizes.kills

    async def story() -> tuple[Any, int, int]:
        server, servers, workers = await storm.server().start(), 0, 0
        async with connected(server.url, storm.history) as client:
            for kill in range(sizes.kills):
                numbers = range(kill * batch, (kill + 1) * batch)
                asked = [asyncio.create_task(_ask(client, number)) for number in numbers]
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                await _kill_a_worker(storm, server)
                workers += 1
                await asyncio.sleep(chance.uniform(0.0, 0.8))
                await server.kill()
                servers += 1
                await server.start()
                assert all(await asyncio.gather(*asked))
        world = await storm.judged()
        assert await server.stop() == 0
        return world, servers, workers

    world, servers, workers = storm.run(story)
    assert (servers, workers) == (sizes.kills, sizes.kills)
    states = world.states()
    assert set(states) == {"SUCCESS"}, states
    assert len(storm.history.acknowledged) >= sizes.jobs
    reached = f"{servers} kills of the server and {workers} of a worker"
    storm.figure("P1", f"{reached}, {len(storm.history.acknowledged):,} requests: 0 lost, 0 stuck")
    storm.figure("P2", f"{len(world.records):,} records: 0 ended twice, 0 with two pictures")
