"""P6: canceled is final, and frees the worker."""

from __future__ import annotations

import asyncio
from typing import Any

from storm_client import Client, connected, wish

STEP = 0.02
AT_ONCE = 50  # P8 is about more than a server can take


async def _race(client: Client, body: dict[str, Any], delay: float) -> None:
    made = await client.create(body)
    assert made.status == 200, made
    await asyncio.sleep(delay)
    answer = await client.cancel(made.uuid)
    assert answer.status == 200
    assert answer.state in {"CANCELED", "SUCCESS"}
    assert (await client.look(made.uuid)).state == answer.state


def test_what_was_canceled_never_ends_otherwise(storm: Any) -> None:
    sizes, chance = storm.sizes, storm.chance

    async def story() -> Any:
        server = await storm.server(LINOCUT_WORKER=f"fake --step-seconds={STEP}").start()
        async with connected(server.url, storm.history) as client:
            places = asyncio.Semaphore(AT_ONCE)

            async def early(number: int, delay: float) -> None:
                async with places:
                    await _race(client, wish(f"early {number}", steps=10), delay)

            delays = [chance.uniform(0, 0.5) for _ in range(sizes.cancels)]
            await asyncio.gather(*(early(i, delay) for i, delay in enumerate(delays)))
            for i in range(sizes.races):  # one at a time: a run ends about when it is canceled
                await _race(client, wish(f"late {i}"), chance.uniform(0.02, 0.3))
            await client.ended((await client.create(wish("behind them all"))).uuid)
        world = await storm.judged()
        assert await server.stop() == 0
        return world

    world = storm.run(story)
    states = world.states()
    assert states["CANCELED"] >= 1
    assert states["SUCCESS"] >= 1
    storm.figure("P6", f"{sizes.cancels} cancels at random, {sizes.races} races with the end: "
                       f"{states['CANCELED']} canceled, 0 of them ended otherwise")  # fmt: skip


def test_a_run_that_is_canceled_stops_long_before_its_end(storm: Any) -> None:
    async def story() -> Any:
        server = storm.server(LINOCUT_WORKER="fake --step-seconds=0.5", LINOCUT_WORKERS="1")
        await server.start()
        async with connected(server.url, storm.history) as client:
            made = await client.create(wish("a long one", steps=50))
            seen: list[tuple[int, str]] = []
            while sum(kind == "progress" for _, kind in seen) < 2:
                seen += await client.read(made.uuid, after=len(seen), most=1)
            assert (await client.cancel(made.uuid)).state == "CANCELED"
            await client.ended((await client.create(wish("the next", steps=1))).uuid)
        world = await storm.judged()
        assert await server.stop() == 0
        return world.records[made.uuid]

    record = storm.run(story)
    assert 0 < record.paid < 12_500, "half of the run, in milliseconds of the worker"
