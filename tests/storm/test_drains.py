"""P9: a server that is told to stop under load loses nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from typing import Any

import httpx2
from storm_check import look
from storm_client import connected, events_of, wish

ENDS = {"completed", "shutdown"}
GRACE = 1


async def _last_word(http: Any, uuid: str) -> str:
    last = ""
    async with http.stream("GET", f"/api/records/{uuid}/events") as answer:
        assert answer.status_code == 200
        async for _, kind, _ in events_of(answer):
            last = kind
    return last


def test_a_server_that_leaves_loses_nothing(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def drained(server: Any, client: Any, turn: int) -> float:
        made = [await client.create(wish(f"drain {turn} {i}", steps=8)) for i in range(6)]
        made += [await client.create(wish(f"[slow] {turn} {i}", steps=10)) for i in range(2)]
        words = [asyncio.create_task(_last_word(client.http, each.uuid)) for each in made]
        await asyncio.sleep(storm.chance.uniform(0.2, 1.0))
        told = time.monotonic()
        server.send(signal.SIGTERM)
        with suppress(AssertionError):  # it may be gone before it is asked
            await server.reaches("/readyz", 503)
        assert await server.gone() == 0, server.said[-3000:]
        took = time.monotonic() - told
        assert set(await asyncio.gather(*words)) <= ENDS
        world = await look(server.database)
        for record in world.records.values():
            assert record.state in {"QUEUED", "SUCCESS"}, record
            assert record.attempt == (record.state == "SUCCESS"), record
        return took

    async def story() -> float:
        server = storm.server(
            LINOCUT_WORKER="fake --step-seconds=0.05", LINOCUT_MAX_ATTEMPTS="1",
            LINOCUT_DRAIN_SECONDS=str(GRACE),
        )  # fmt: skip
        took = []
        for turn in range(storm.sizes.drains):
            await server.start()
            async with connected(server.url, storm.history) as client:
                took.append(await drained(server, client, turn))
        await server.start()
        world = await storm.judged()
        assert await server.stop() == 0
        assert world.states() == {"SUCCESS": 8 * storm.sizes.drains}
        return max(took)

    slowest = storm.run(story)
    storm.figure("P9", f"{storm.sizes.drains} stops under load: every stream had its last word, "
                       f"{8 * storm.sizes.drains} of {8 * storm.sizes.drains} records drawn, "
                       "no attempt counted for what was put back; gone within "
                       f"{slowest:.1f} s of a grace of {GRACE} s")  # fmt: skip


def test_while_it_leaves_it_is_not_ready_and_takes_nothing(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def story() -> None:
        server = storm.server(LINOCUT_WORKER="fake --step-seconds=0.5", LINOCUT_DRAIN_SECONDS="60")
        await server.start()
        async with connected(server.url, storm.history) as client:
            made = await client.create(wish("the last one", steps=8))
            await client.read(made.uuid, most=2)
            server.send(signal.SIGTERM)
            await server.reaches("/readyz", 503)
            refused = await client.create(wish("too late"), insist=False)
            assert refused.status == 503
        assert await server.gone() == 0
        world = await storm.judged()
        assert world.states() == {"SUCCESS": 1}

    storm.run(story)


def test_a_second_server_on_the_folder_changes_nothing(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def story() -> None:
        first = await storm.server().start()
        second = storm.server()
        second.begin()
        assert await second.gone() == 1
        async with httpx2.AsyncClient(base_url=first.url, trust_env=False) as http:
            assert (await http.get("/livez")).status_code == 200
        assert await first.stop() == 0

    storm.run(story)
