"""One run of each kind with the demo checkpoint: create, stream, cancel, drain."""

from __future__ import annotations

import signal
from typing import Any

from storm_client import connected, wish


def test_the_demo_checkpoint_goes_every_way(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def story() -> None:
        server = storm.server(
            LINOCUT_WORKER="engine", LINOCUT_WORKERS="1", LINOCUT_LEASE="30",
            LINOCUT_HEARTBEAT="5", LINOCUT_BUSY_TIMEOUT="5", LINOCUT_DRAIN_SECONDS="200",
        )  # fmt: skip
        await server.start()
        async with connected(server.url, storm.history) as client:
            made = await client.create(wish("a red apple", steps=2))
            told = await client.read(made.uuid)
            assert told[-1][1] == "completed"
            record = (await client.look(made.uuid)).body["aiRecord"]
            picture = await client.http.get(record["temporaryUrl"])
            assert picture.content[:2] == b"\xff\xd8"
            long = await client.create(wish("a blue fish", steps=50))
            await client.read(long.uuid, most=2)
            assert (await client.cancel(long.uuid)).state == "CANCELED"
            last = await client.create(wish("a green tree", steps=4))
            await client.read(last.uuid, most=2)
            server.send(signal.SIGTERM)
            assert await server.gone() == 0
        world = await storm.judged()
        assert world.records[last.uuid].state == "SUCCESS"
        assert world.records[long.uuid].state == "CANCELED"
        assert all(record.attempt == 1 for record in world.records.values())

    storm.run(story)
