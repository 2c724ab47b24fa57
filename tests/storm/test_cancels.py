"""P6: canceled is final, and frees the worker."""

from __future__ import annotations

import asyncio
import time
from statistics import median
from typing import Any

from storm_client import Client, connected, events_of, wish

STEP = 0.02
LONG_STEP = 1.0  # a cancel has that long to reach the worker, on the slowest machine
WORKERS = 2
AT_ONCE = 50  # P8 is about more than a server can take


async def _race(client: Client, body: dict[str, Any], delay: float) -> tuple[str, float]:
    """The record, and the seconds until its cancel was answered."""
    made = await client.create(body)
    assert made.status == 200, made
    await asyncio.sleep(delay)
    asked = time.monotonic()
    answer = await client.cancel(made.uuid)
    took = time.monotonic() - asked
    assert answer.status == 200
    assert answer.state in {"CANCELED", "SUCCESS"}
    assert (await client.look(made.uuid)).state == answer.state
    return made.uuid, took


async def _behind_others(client: Client, most: int) -> dict[str, float]:
    """How long cancels take, one at a time, while each worker is held by another record."""
    held = [await client.create(wish("[slow] held", steps=50)) for _ in range(WORKERS)]
    took = [await _race(client, wish(f"waiting {i}"), 0) for i in range(most)]
    for each in held:
        await client.cancel(each.uuid)
    return dict(took)


def test_what_was_canceled_never_ends_otherwise(storm: Any) -> None:
    sizes, chance = storm.sizes, storm.chance

    async def story() -> tuple[Any, dict[str, float]]:
        server = await storm.server(LINOCUT_WORKER=f"fake --step-seconds={STEP}").start()
        async with connected(server.url, storm.history) as client:
            places = asyncio.Semaphore(AT_ONCE)

            async def early(number: int, delay: float) -> None:
                async with places:
                    await _race(client, wish(f"early {number}", steps=10), delay)

            delays = [chance.uniform(0, 0.5) for _ in range(sizes.cancels)]
            await asyncio.gather(*(early(i, delay) for i, delay in enumerate(delays)))
            took = await _behind_others(client, sizes.races)
            for i in range(sizes.races):  # one at a time: a run ends about when it is canceled
                await _race(client, wish(f"late {i}"), chance.uniform(0.02, 0.3))
            await client.ended((await client.create(wish("behind them all"))).uuid)
            world = await storm.judged()
            assert await client.counted() == world.states()
        assert await server.stop() == 0
        return world, took

    world, took = storm.run(story)
    states = world.states()
    assert states["CANCELED"] >= 1
    assert states["SUCCESS"] >= 1
    waits = [1000 * took[id] for id in took if world.records[id].attempt == 0]  # queued
    storm.figure("P6", f"{sizes.cancels} cancels at random, {sizes.races} races with the end: "
                       f"{states['CANCELED']} canceled, 0 of them ended otherwise; one after the "
                       f"other, {len(waits)} cancels of records that waited were answered within "
                       f"{max(waits):.0f} ms, half within {median(waits):.0f} ms")  # fmt: skip
    storm.figure("P24", f"jobs_total: {states['CANCELED']:,} canceled and {states['SUCCESS']:,} "
                        "drawn, as the database says", under="cancels")  # fmt: skip


async def _last_step(client: Client, uuid: str) -> int:
    """The step that an ended record's story last told of."""
    async with client.http.stream("GET", f"/api/records/{uuid}/events") as answer:
        return max([data.get("step", 0) async for _, _, data in events_of(answer)])


def test_a_run_that_is_canceled_stops_within_two_steps(storm: Any) -> None:
    async def story() -> tuple[Any, int]:
        work = f"fake --step-seconds={LONG_STEP}"
        server = storm.server(LINOCUT_WORKER=work, LINOCUT_WORKERS="1")
        await server.start()
        async with connected(server.url, storm.history) as client:
            made = await client.create(wish("a long one", steps=50))
            seen: list[tuple[int, str]] = []
            while sum(kind == "progress" for _, kind in seen) < 3:  # it reads, one step, two
                seen += await client.read(made.uuid, after=len(seen), most=1)
            assert (await client.cancel(made.uuid)).state == "CANCELED"
            told = await _last_step(client, made.uuid)
            await client.ended((await client.create(wish("the next", steps=1))).uuid)
        world = await storm.judged()
        assert await server.stop() == 0
        return world.records[made.uuid], told

    record, told = storm.run(story)
    steps = record.paid / 1000 / LONG_STEP  # what a step took longer counts as a part of one
    assert 2 <= told <= steps < told + 3
