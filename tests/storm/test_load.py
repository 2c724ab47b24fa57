"""P8, P20, P21, P24: too many clients, slow ones, and many for a long time."""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import suppress
from statistics import linear_regression
from typing import Any

import httpx2
from PIL import Image
from storm_client import FINAL, History, connected, wish
from storm_slow import Line, taken_slowly

QUEUE = 20
MOST_GROWN = 1.1
OWN_LINES = 2  # of the healthy client


def test_overload_is_refused_and_the_metrics_tell_it(sqlite_storm: Any) -> None:
    storm, sizes = sqlite_storm, sqlite_storm.sizes

    async def press(client: Any, number: int, end: float) -> None:
        turn = 0
        while time.monotonic() < end:
            made = await client.create(wish(f"{number} {turn}"), insist=False)
            assert made.status in {200, 429}, made
            turn += 1
            if made.status == 429:
                await asyncio.sleep(0.2)

    async def usual(client: Any, number: int) -> None:
        for turn in range(sizes.usual // 4):
            await client.create(wish(f"as usual {number} {turn}"))

    async def story() -> Any:
        # A client with so many calls may take seconds to get back to a connection.
        server = storm.server(LINOCUT_QUEUE_LIMIT=str(QUEUE), LINOCUT_KEEP_ALIVE_SECONDS="60")
        await server.start()
        async with connected(server.url, storm.history, most=sizes.clients) as client:
            await asyncio.gather(*(usual(client, number) for number in range(4)))
            before, end = server.memory(), time.monotonic() + sizes.overload_seconds
            await asyncio.gather(*(press(client, i, end) for i in range(sizes.clients)))
            world = await storm.judged()
            assert await client.counted() == world.states()
        after = server.memory()
        assert await server.stop() == 0
        return world, before, after

    world, before, after = storm.run(story)
    refused = storm.history.count("create", 429)
    assert refused > len(world.records) - sizes.usual
    assert world.states() == {"SUCCESS": len(storm.history.acknowledged)}
    assert after < MOST_GROWN * before
    grown = f"from {before:.0f} to {after:.0f} MB, by {after / before - 1:.1%}"
    storm.figure("P8", f"{sizes.clients} clients for {sizes.overload_seconds:g} s: {refused:,} "
                       f"refused with Retry-After, {len(world.records) - sizes.usual:,} accepted "
                       f"and all drawn; the server, which had drawn {sizes.usual} pictures before, "
                       f"grew {grown}")  # fmt: skip
    storm.figure("P24", f"jobs_total after P8: {len(world.records):,}, as the database says")


async def _large(client: Any) -> tuple[str, int]:
    """The path of a picture that fits into no buffer of a connection, and its bytes."""
    picture = Image.effect_noise((2000, 2000), 100)
    picture.save(file := io.BytesIO(), "PNG")
    answer = await client.http.post("/api/assets", files={"asset": ("a.png", file.getvalue())})
    where = httpx2.URL(answer.json()["asset"]["location"]).raw_path.decode()
    return where, int((await client.http.head(where)).headers["content-length"])


def _lines(port: int, large: str, most: int) -> list[Line]:
    """So many slow clients of each kind."""
    post = b"POST /api/features HTTP/1.1\r\nHost: [::1]\r\n"
    kinds = [
        (post + b"X-Slow: ", False),
        (post + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{", False),
        (b"", False),
        (_get(large), False),
        (_get(large), True),
    ]
    return [Line(port, start, sips) for start, sips in kinds for _ in range(most)]


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n".encode()


def test_slow_clients_are_closed_and_harm_nobody(sqlite_storm: Any) -> None:
    storm, most, waits = sqlite_storm, sqlite_storm.sizes.slow, []

    async def story() -> tuple[float, int]:
        server = storm.server(LINOCUT_HEADER_SECONDS="2", LINOCUT_STALL_SECONDS="2")
        await server.start()
        async with connected(server.url, storm.history) as client:
            large, size = await _large(client)
            sockets = server.sockets()
            honest = asyncio.create_task(taken_slowly(server.port, _get(large)))
            lines = _lines(server.port, large, most)
            end = time.monotonic() + 60
            while not honest.done() or server.sockets() > sockets + OWN_LINES:
                assert time.monotonic() < end, f"{server.sockets() - sockets} are still there"
                begun = time.monotonic()
                made = await client.create(wish("a healthy one"), insist=False)
                waits.append(time.monotonic() - begun)
                assert made.status == 200, made
                for line in lines:
                    line.look()
                await asyncio.sleep(0.1)
            assert await honest > size
        for line in lines:
            line.link.close()
        await storm.judged()
        assert await server.stop() == 0
        assert all(line.held is not None for line in lines), "closed by the server, not for them"
        return max(line.held for line in lines if line.held is not None), size

    held, size = storm.run(story)
    slowest = sorted(waits)[int(0.99 * (len(waits) - 1))]
    assert held < 10
    storm.figure("P20", f"{most} each of slow headers, slow bodies, silence, readers who take "
                        "nothing and readers who take a byte now and then: with 2 s of patience "
                        f"all were closed within {held:.1f} s; {len(waits)} healthy requests "
                        f"meanwhile, p99 {slowest * 1000:.0f} ms; a reader of 500 KB a second got "
                        f"its {size / 1e6:.1f} MB")  # fmt: skip


async def _come_and_go(client: Any, end: float) -> None:
    while time.monotonic() < end:
        made = await client.create(wish("come and go"))
        await client.read(made.uuid, most=2)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):  # a reader that goes away in the middle
                await client.read(made.uuid)
        if (await client.look(made.uuid)).state not in FINAL:
            await client.ended(made.uuid)


async def _churn(url: str, seconds: float) -> None:
    async with connected(url, History()) as client:
        end = time.monotonic() + seconds
        await asyncio.gather(*(_come_and_go(client, end) for _ in range(6)))


async def _slope(server: Any, seconds: float) -> float:
    """How fast its memory grows meanwhile, by a straight line through it: MB in ten minutes."""
    times, memories, end = [], [], time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(time.monotonic())
        memories.append(server.memory())
        await asyncio.sleep(1)
    return 600 * linear_regression(times, memories).slope


async def _files_again(server: Any, files: int) -> int:
    """How many descriptors it holds once it has closed what nobody uses."""
    for _ in range(100):
        if server.files() <= files:
            break
        await asyncio.sleep(0.2)
    return int(server.files())


def test_nothing_leaks_while_clients_come_and_go(sqlite_storm: Any) -> None:
    storm, seconds = sqlite_storm, sqlite_storm.sizes.churn_seconds

    async def story() -> tuple[float, float, int, int]:
        server = await storm.server(LINOCUT_KEEP_ALIVE_SECONDS="2").start()
        await _churn(server.url, seconds / 4)
        await asyncio.sleep(3)  # kept-alive connections end
        files, threads, memory = server.files(), server.threads(), server.memory()
        rest = seconds * 3 / 4
        _, slope = await asyncio.gather(_churn(server.url, rest), _slope(server, rest))
        after = await _files_again(server, files)
        assert after <= files + 4, f"{files} descriptors became {after}"
        assert server.threads() <= threads + 8
        grown = server.memory() - memory
        assert slope < storm.sizes.churn_slope, f"{grown:.1f} MB more"
        world = await storm.judged(History())
        assert await server.stop() == 0
        return slope, grown, after, len(world.records)

    slope, grown, files, drawn = storm.run(story)
    storm.figure("P21", f"{seconds:g} s of streams that are begun and left, {drawn:,} pictures: "
                        f"{grown:+.1f} MB, after the first quarter {slope:+.2f} MB in ten minutes; "
                        f"{files} descriptors as before")  # fmt: skip
