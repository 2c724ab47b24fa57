"""A record's story as a stream: whole, resumable behind every event, and ended in every case."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from linocut.errors import ContentRefused, Unavailable, to_stored
from linocut.jobs.record import Record
from linocut.jobs.store import Store
from linocut.server import streams
from linocut.server.context import Service
from linocut.server.streams import Listener, frame, story

BASE = "http://here"
LISTENER = Listener(base=BASE, request_id="asked-1")


async def read(service: Service, record: Record, after: int = 0) -> bytes:
    """The whole stream, to its end."""
    async with asyncio.timeout(20):
        return b"".join(
            [line async for line in story(service, record, after=after, listener=LISTENER)]
        )


def test_an_event_is_three_lines_and_an_empty_one() -> None:
    assert frame("progress", {"step": 1}, 3) == b'id: 3\nevent: progress\ndata: {"step":1}\n\n'


def test_a_line_break_in_a_value_does_not_break_the_event(desk: ModuleType) -> None:
    text = "a\r\nb\n\nc\u2028d"
    (event,) = desk.parsed(frame("failed", {"text": text}))
    assert event["data"] == {"text": text}


def test_a_story_that_has_ended_is_told_whole(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        return await read(service, await desk.drawn(service))

    raw = desk.run(tmp_path, scenario)
    assert raw.startswith(b"retry: 2000\n\n")
    events = desk.parsed(raw)
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
    assert events[0]["event"] == "queued"
    assert events[0]["data"]["place"] == 1
    assert events[-1]["event"] == "completed"
    record = events[-1]["data"]["aiRecord"]
    assert record["status"] == "SUCCESS"
    assert record["temporaryUrl"].startswith(
        f"{BASE}/files/{record['aiRecordDetail']['resultObject'][0]}?"
    )


def test_behind_every_event_the_rest_follows(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> tuple[bytes, list[bytes]]:
        record = await desk.drawn(service)
        whole = await read(service, record)
        ends = len(desk.parsed(whole))
        return whole, [await read(service, record, after) for after in range(ends)]

    whole, rests = desk.run(tmp_path, scenario)
    ids = [event["id"] for event in desk.parsed(whole)]
    assert len(ids) >= 2
    for after, rest in enumerate(rests):
        assert [event["id"] for event in desk.parsed(rest)] == ids[after:]


def test_previews_are_for_who_watches_and_not_told_again(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> tuple[bytes, bytes]:
        record = await desk.submitted(service)
        live = story(service, record, after=0, listener=LISTENER)
        claimed = await service.store.claim("test", 30.0)
        assert claimed is not None
        preview = ("preview", {"step": 2, "image": "data:image/webp;base64,AAAA"})
        await service.store.append(record.id, claimed.fence, [preview, ("progress", {"step": 3})])
        seen = b""
        async with asyncio.timeout(20):
            while b'"step":3' not in seen:
                seen += await anext(live)
            refused = to_stored(ContentRefused("no", stage="output", category="x"))
            await service.store.fail(record.id, claimed.fence, refused, 0.0)
            seen += b"".join([line async for line in live])
        return seen, await read(service, record)

    live, again = map(desk.parsed, desk.run(tmp_path, scenario))
    assert [event["event"] for event in live] == ["queued", "preview", "progress", "failed"]
    assert [event["event"] for event in again] == ["queued", "progress", "failed"]
    assert [event["id"] for event in again] == ["1", "3", "4"]


def test_what_happens_while_it_is_open_is_told(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.submitted(service)
        reading = asyncio.create_task(read(service, record))
        claimed = await service.store.claim("test", 30.0)
        assert claimed is not None
        progress = {"stage": "drawing", "step": 1, "steps": 4, "left": 3.0}
        await service.store.append(record.id, claimed.fence, [("progress", progress)])
        await service.store.cancel("ours", record.id)
        return await reading

    events = desk.parsed(desk.run(tmp_path, scenario))
    assert [event["event"] for event in events if event["event"] != "started"] == [
        "queued", "progress", "canceled",
    ]  # fmt: skip
    assert events[-1]["data"]["aiRecord"]["status"] == "CANCELED"


def test_a_failure_is_told_with_its_problem(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.submitted(service)
        claimed = await service.store.claim("test", 30.0)
        assert claimed is not None
        error = {"code": "worker_failed", "message": "it crashed", "hint": "again"}
        await service.store.fail(record.id, claimed.fence, error, 1.0)
        return await read(service, record)

    last = desk.parsed(desk.run(tmp_path, scenario))[-1]
    assert last["event"] == "failed"
    error = last["data"]["error"]
    assert (error["code"], error["request_id"]) == ("worker_failed", "asked-1")
    assert error["instance"] == f"/api/records/{last['data']['uuid']}"
    assert last["data"]["error"]["message"] == "it crashed"
    assert last["data"]["aiRecord"]["status"] == "FAILURE"


def test_a_database_that_is_away_for_a_moment_does_not_end_a_story(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def twice_away(name: str) -> None:
        plain = getattr(Store, name)

        async def asked(*given: Any) -> Any:
            calls[name] += 1
            if calls[name] <= 2:
                raise Unavailable("the database is away", retry_after=1)
            return await plain(*given)

        monkeypatch.setattr(Store, name, asked)

    async def scenario(service: Service) -> bytes:
        record = await desk.drawn(service)
        for name in ("events", "record", "place"):
            twice_away(name)
        return await read(service, record)

    monkeypatch.setattr(streams, "POLL", 0.0)
    events = desk.parsed(desk.run(tmp_path, scenario, sse_heartbeat=0.01))
    told = [event for event in events if "id" in event]
    assert [int(event["id"]) for event in told] == list(range(1, len(told) + 1))
    assert told[-1]["event"] == "completed"
    assert told[-1]["data"]["aiRecord"]["status"] == "SUCCESS"
    assert calls["events"] > 2
    assert calls["record"] > 2


def test_a_server_that_leaves_says_so(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.submitted(service)
        reading = asyncio.create_task(read(service, record))
        await asyncio.sleep(0)
        service.draining.on = True
        return await reading

    events = desk.parsed(desk.run(tmp_path, scenario))
    assert events[-1]["event"] == "shutdown"
    assert "id" not in events[-1]


def test_a_silent_stream_gives_signs_of_life(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> list[bytes]:
        record = await desk.submitted(service)
        seen = []
        async with asyncio.timeout(20):
            async for line in story(service, record, after=0, listener=LISTENER):
                seen.append(line)
                if seen.count(b": still here\n\n") == 2:
                    break
        return seen

    seen = desk.run(tmp_path, scenario, sse_heartbeat=0.01)
    places = [event for event in desk.parsed(b"".join(seen)) if "id" not in event]
    assert {event["event"] for event in places} == {"queued"}
    assert places[0]["data"]["place"] == 1


def test_no_sign_of_life_comes_late(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0

    async def ticks(*_: object) -> AsyncIterator[bool]:
        nonlocal clock
        for _ in range(20):
            clock += streams.TICK
            yield False

    async def scenario(service: Service) -> list[float]:
        record = await desk.submitted(service)
        told = [clock async for line in story(service, record, after=0, listener=LISTENER)
                if line == b": still here\n\n"]  # fmt: skip
        return [later - earlier for earlier, later in pairwise([0.0, *told])]

    monkeypatch.setattr(streams, "looks", ticks)
    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: clock))
    pauses = desk.run(tmp_path, scenario, sse_heartbeat=1.2)
    assert len(pauses) > 5
    assert max(pauses) <= 1.2


def test_a_story_whose_record_is_deleted_ends(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> bytes:
        record = await desk.drawn(service)
        await service.store.delete("ours", record.id)
        return await read(service, record)

    assert desk.parsed(desk.run(tmp_path, scenario, sse_heartbeat=0.01)) == []
