"""P1, P2: whatever is killed, nothing acknowledged is lost, doubled or stuck."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

from storm_client import Client, connected, wish


async def _ask(client: Client, number: int) -> str:
    """Half of the requests carry a key, and are sent twice."""
    body = wish(f"picture {number}", seed=number)
    key = f"kill-{number}" if number % 2 else ""
    made = await client.create(body, key=key)
    if key:
        await client.create(body, key=key)
    return made.uuid


async def _kill_a_worker(storm: Any, server: Any) -> None:
    workers = server.workers()
    if workers:
        with suppress(ProcessLookupError):
            os.kill(storm.chance.choice(workers), signal.SIGKILL)


def test_nothing_acknowledged_is_lost_or_doubled_by_kills(storm: Any) -> None:
    sizes, chance = storm.sizes, storm.chance
    batch = sizes.jobs // sizes.kills

    async def story() -> Any:
        server = await storm.server().start()
        async with connected(server.url, storm.history) as client:
            for kill in range(sizes.kills):
                numbers = range(kill * batch, (kill + 1) * batch)
                asked = [asyncio.create_task(_ask(client, number)) for number in numbers]
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                await _kill_a_worker(storm, server)
                await asyncio.sleep(chance.uniform(0.0, 0.8))
                await server.kill()
                await server.start()
                assert all(await asyncio.gather(*asked))
        world = await storm.judged()
        assert await server.stop() == 0
        return world

    world = storm.run(story)
    states = world.states()
    assert set(states) == {"SUCCESS"}, states
    assert len(storm.history.acknowledged) >= sizes.jobs
    reached = f"{sizes.kills} kills of the server and {sizes.kills} of a worker"
    storm.figure("P1", f"{reached}, {len(storm.history.acknowledged):,} requests: 0 lost, 0 stuck")
    storm.figure("P2", f"{len(world.records):,} records: 0 ended twice, 0 with two pictures")
