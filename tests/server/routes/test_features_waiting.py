"""A blocking call waits for its record: how often it looks, and until when."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest
from starlette.requests import Request

from linocut.jobs.record import Record, State
from linocut.jobs.store import Store
from linocut.server import streams
from linocut.server.answers import in_line
from linocut.server.answers import waiting as asked_again
from linocut.server.context import Service
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


def test_who_waits_reads_the_record_when_it_ends_and_not_as_it_goes_on(
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
        while not reads:  # noqa: ASYNC110 - it reads once to begin with
            await asyncio.sleep(0.001)
        await service.store.claim("test", 30.0)
        for step in range(20):
            await service.store.append(record.id, 1, [("progress", {"step": step})])
        await service.store.fail(record.id, 1, {"code": "worker_failed", "message": "x"}, 0.0)
        assert (await calling).state is State.FAILURE

    monkeypatch.setattr(Store, "record", counted)
    monkeypatch.setattr(streams, "POLL", 60.0)
    desk.run(tmp_path, scenario)
    assert reads == [State.QUEUED, State.FAILURE]


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
