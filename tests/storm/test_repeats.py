"""P5: the same Idempotency-Key leads to the same record, through crashes too."""

from __future__ import annotations

import asyncio
from typing import Any

from storm_client import connected, wish


def test_the_same_key_leads_to_the_same_record(storm: Any) -> None:
    sizes = storm.sizes
    total = sizes.keys * sizes.repeats

    async def story() -> None:
        server = await storm.server().start()
        keys = [f"key-{number}" for number in range(sizes.keys)]
        async with connected(server.url, storm.history) as client:
            asked = [
                asyncio.create_task(client.create(wish(key), key=key))
                for key in keys
                for _ in range(sizes.repeats)
            ]
            await asyncio.sleep(storm.chance.uniform(0.1, 0.4))
            await server.kill()
            await server.start()
            made = await asyncio.gather(*asked)
            assert {each.status for each in made} == {200}
            for key in keys:
                assert len({each.uuid for each in made if each.key == key}) == 1
                other = await client.create(wish("something else"), key=key)
                assert other.status == 422, other
                again = await client.create(wish(key), key=key)
                assert again.is_replay
                assert again.uuid == next(each.uuid for each in made if each.key == key)
        world = await storm.judged()
        assert len(world.records) == sizes.keys
        assert world.states() == {"SUCCESS": sizes.keys}
        assert await server.stop() == 0

    storm.run(story)
    storm.figure("P5", f"{sizes.keys} keys, {total:,} requests, one crash: {sizes.keys} records; "
                       f"{sizes.keys} of {sizes.keys} changed bodies answer 422")  # fmt: skip
