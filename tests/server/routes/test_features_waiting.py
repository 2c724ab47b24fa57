"""A blocking call waits for its record: how often it looks, and until when."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import httpx2
import pytest
from starlette.requests import Request

from linocut.errors import Unavailable
from linocut.jobs.record import Record, State
from linocut.jobs.store import Store
from linocut.server import streams
from linocut.server.answers import in_line
from linocut.server.answers import waiting as asked_again
from linocut.server.app import create_app
from linocut.server.context import Service
from linocut.server.idempotency import fingerprint
from linocut.server.routes import features
from linocut.server.routes.features import ended


class Listening:
    """A request whose caller is still there."""

    async def is_disconnected(self) -> bool:
        """Never."""
        return False


def waiting(service: Service, record: Record, seconds: float = 60.0) -> asyncio.Task[Record]:
    """A blocking call for this record."""
    request = cast(Request, Listening())
    return asyncio.create_task(ended(request, service, record, seconds))


async def claimed(service: Service, desk: ModuleType) -> Record:
    """A record that is being drawn."""
    await desk.submitted(service)
    record = await service.store.claim("test", 30.0)
    assert record is not None
    return record


def test_who_waits_is_told_the_end_and_reads_nothing_until_then(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[State] = []
    plain = Store.record

    async def counted(self: Store, tenant: str, id: str) -> Record | None:
        found = await plain(self, tenant, id)
        assert found is not None
        reads.append(found.state)
        return found

    async def scenario(service: Service) -> None:
        record = await desk.submitted(service)
        calling = waiting(service, record)
        await asyncio.sleep(0)
        await service.store.claim("test", 30.0)
        for step in range(20):
            await service.store.append(record.id, 1, [("progress", {"step": step})])
        await service.store.fail(record.id, 1, {"code": "worker_failed", "message": "x"}, 0.0)
        ended = await calling
        assert reads == []
        assert ended == await service.store.record("ours", record.id)
        assert ended.state is State.FAILURE

    monkeypatch.setattr(Store, "record", counted)
    monkeypatch.setattr(streams, "POLL", 60.0)
    monkeypatch.setattr(streams, "TICK", 60.0)
    desk.run(tmp_path, scenario)


def test_an_end_before_anybody_listened_is_seen_at_the_first_tick(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(service: Service) -> None:
        record = await claimed(service, desk)
        await service.store.succeed(record.id, record.fence, [], {}, 1.0)
        async with asyncio.timeout(20):
            assert (await waiting(service, record)).state is State.SUCCESS

    monkeypatch.setattr(streams, "POLL", 60.0)
    monkeypatch.setattr(streams, "TICK", 0.01)
    desk.run(tmp_path, scenario)


def test_what_is_being_drawn_still_comes_from_a_server_that_leaves(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        record = await claimed(service, desk)
        calling = waiting(service, record)
        await asyncio.sleep(0)
        service.draining.on = True
        done, _ = await asyncio.wait({calling}, timeout=3 * streams.TICK)
        assert not done, "it noticed, and goes on waiting"
        await service.store.succeed(record.id, record.fence, [], {}, 1.0)
        assert (await calling).state is State.SUCCESS

    desk.run(tmp_path, scenario)


def test_what_waits_or_goes_back_is_not_waited_for_at_a_server_that_leaves(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        begun = await claimed(service, desk)
        queued = await desk.submitted(service)
        calls = [waiting(service, record) for record in (begun, queued)]
        await asyncio.sleep(0)
        service.draining.on = True
        assert (await calls[1]).state is State.QUEUED
        assert not calls[0].done()
        await service.store.release(
            begun.id, begun.fence, counted=False, delay=0, error={}, max_attempts=3
        )
        assert (await calls[0]).state is State.QUEUED

    desk.run(tmp_path, scenario)


def test_nobody_waits_longer_than_anything_runs_here(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        calling = waiting(service, await claimed(service, desk))  # by another server
        await asyncio.sleep(0)
        service.draining.on = service.draining.done = True
        assert (await calling).state is State.PROCESSING

    desk.run(tmp_path, scenario)


def test_a_database_that_is_away_for_a_moment_loses_no_answer(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = 0
    plain = Store.record

    async def twice_away(self: Store, tenant: str, id: str) -> Record | None:
        nonlocal away
        if away < 2:
            away += 1
            raise Unavailable("the database is away", retry_after=1)
        return await plain(self, tenant, id)

    async def scenario(service: Service) -> None:
        record = await claimed(service, desk)
        await service.store.succeed(record.id, record.fence, [], {}, 1.0)
        monkeypatch.setattr(Store, "record", twice_away)
        assert (await waiting(service, record)).state is State.SUCCESS

    monkeypatch.setattr(streams, "POLL", 0.0)
    desk.run(tmp_path, scenario)
    assert away == 2


def test_accepted_work_is_told_with_its_id_though_the_database_is_away(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_away(*_: Any) -> None:
        raise Unavailable("the database is away", retry_after=1)

    async def scenario(service: Service) -> None:
        monkeypatch.setattr(Store, "record", is_away)
        monkeypatch.setattr(Store, "place", is_away)
        answer = await posted(service, desk, Prefer="wait=0")
        assert answer.status_code == 202
        record = answer.json()["aiRecord"]
        assert answer.headers["location"] == f"/api/records/{record['uuid']}"
        assert record["metadata"]["queue"]["place"] is None

    desk.run(tmp_path, scenario, auth=False)


def test_a_record_that_is_deleted_is_not_waited_for(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        record = await desk.submitted(service)
        await service.store.cancel("ours", record.id)
        await service.store.delete("ours", record.id)
        async with asyncio.timeout(20):
            assert (await waiting(service, record)).state is State.CANCELED

    desk.run(tmp_path, scenario)


@pytest.mark.parametrize(("key", "count"), [("", 0), ("once", 1)])
def test_a_fingerprint_is_made_for_an_idempotency_key_alone_and_a_large_one_in_a_thread(
    tmp_path: Path, desk: ModuleType, monkeypatch: pytest.MonkeyPatch, key: str, count: int
) -> None:
    threads: list[threading.Thread] = []

    def noted(route: str, body: Any) -> str:
        threads.append(threading.current_thread())
        return fingerprint(route, body)

    async def scenario(service: Service) -> None:
        for large in (False, True):
            monkeypatch.setattr(features, "LARGE", 0 if large else 1_000_000)
            headers = {"Idempotency-Key": f"{key}-{large}"} if key else {}
            answer = await posted(service, desk, **headers, Prefer="respond-async")
            assert answer.status_code == 202

    monkeypatch.setattr(features, "fingerprint", noted)
    desk.run(tmp_path, scenario, auth=False)
    main = threading.main_thread()
    assert [thread is main for thread in threads] == [True, False][: 2 * count]


async def posted(service: Service, desk: ModuleType, **headers: str) -> httpx2.Response:
    """The answer of an application over these parts, where nobody needs a key."""
    open_to_all = replace(service.keyring, is_open=True)
    app = create_app(replace(service, keyring=open_to_all))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.post(features.ROUTE, json=desk.call(), headers=headers)


def test_an_accepted_call_knows_its_place_without_asking_again(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        for _ in range(2):
            await desk.submitted(service)  # two seconds each
        new = await service.store.submit(desk.submission(), desk.ENOUGH)
        told = in_line(service, new.record, new.place, new.usual)
        assert told == await asked_again(service, new.record)
        assert (told.place, told.seconds) == (3, 6.0)

    desk.run(tmp_path, scenario)
