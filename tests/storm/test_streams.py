"""P13: a stream that is cut goes on behind the last event that was seen."""

from __future__ import annotations

import asyncio
from typing import Any

from storm_client import connected, wish


def test_streams_resume_behind_every_event(sqlite_storm: Any) -> None:
    storm, most = sqlite_storm, sqlite_storm.sizes.streams

    async def story() -> tuple[int, int]:
        server = storm.server(LINOCUT_WORKER="fake --step-seconds=0.3", LINOCUT_WORKERS="1")
        await server.start()
        async with connected(server.url, storm.history, most=most + 10) as client:
            made = await client.create(wish("watched by many", steps=12))
            whole = [asyncio.create_task(client.read(made.uuid)) for _ in range(most)]
            cut: list[tuple[int, str]] = []
            while not cut or cut[-1][1] != "completed":
                cut += await client.read(made.uuid, after=len(cut), most=1)
            assert [number for number, _ in cut] == list(range(1, len(cut) + 1))
            assert cut[0][1] == "queued"
            assert all(seen == cut for seen in await asyncio.gather(*whole))
            for after in range(len(cut)):
                assert await client.read(made.uuid, after=after) == cut[after:]
        await storm.judged()
        assert await server.stop() == 0
        return len(cut), most

    events, streams = storm.run(story)
    storm.figure("P13", f"{events} events, cut after every one, live and afterwards; {streams:,} "
                        "streams at once: no gap, no repeat, each ended")  # fmt: skip


def test_a_stream_goes_on_after_the_server_was_killed(sqlite_storm: Any) -> None:
    storm = sqlite_storm

    async def story() -> list[tuple[int, str]]:
        server = storm.server(LINOCUT_WORKER="fake --step-seconds=0.3", LINOCUT_WORKERS="1")
        await server.start()
        seen: list[tuple[int, str]] = []
        async with connected(server.url, storm.history) as client:
            made = await client.create(wish("watched through a crash", steps=5))
            seen += await client.read(made.uuid, most=3)
            await server.kill()
            await server.start()
            while seen[-1][1] != "completed":
                seen += await client.read(made.uuid, after=seen[-1][0])
        await storm.judged()
        assert await server.stop() == 0
        return seen

    seen = storm.run(story)
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert [kind for _, kind in seen].count("queued") == 2, "it went back into the queue"
