"""A picture store that gives no answer: whoever needs it is told to come back, the rest goes on."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import far_disk
import httpx2
import pytest
from far_peer import SILENCES, FarStore, Peer, a_peer

from linocut.errors import StorageUnavailable
from linocut.images.bounded import BoundedStore
from linocut.server.answers import link
from linocut.server.app import create_app
from linocut.server.context import Service
from linocut.server.dialects.features import Source
from linocut.server.keyring import Keyring
from linocut.server.references import discard, gather

HERE = "http://127.0.0.1"
SOON = 0.3  # seconds of a store that is to be given up
MANY = 40  # more than a disk has threads, hung ones and others


@pytest.fixture(params=SILENCES)
def line(request: pytest.FixtureRequest) -> Iterator[Peer]:
    """The other end of the line to a store; it answers until a test has it fall silent."""
    with a_peer(request.param, answers=True) as peer:
        yield peer


Scenario = Callable[[Service, httpx2.AsyncClient], Awaitable[None]]


@pytest.fixture
def play(line: Peer, tmp_path: Path, desk: ModuleType) -> Callable[[Scenario], None]:
    """Runs a scenario with an application whose store is at the other end of the line."""

    def run(scenario: Scenario) -> None:
        async def told(service: Service) -> None:
            far = replace(
                service,
                pictures=BoundedStore(FarStore(line.address), SOON),
                keyring=Keyring(store=service.store, pepper=b"", is_open=True),
            )
            transport = httpx2.ASGITransport(app=create_app(far))
            async with httpx2.AsyncClient(transport=transport, base_url=HERE, timeout=60) as client:
                await scenario(far, client)

        desk.run(tmp_path, told, auth=False)

    return run


def check(answer: Any) -> None:
    """It says that the store is away, and when to come back."""
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "127.0.0.1" not in answer.text


def form(number: int = 0) -> dict[str, Any]:
    """An upload that a guard without eyes takes."""
    return {"files": {"asset": ("a.png", b"PICTURE %d" % number, "image/png")}}


def test_an_upload_is_told_to_come_back(play: Callable[[Scenario], None], line: Peer) -> None:
    async def scenario(service: Service, client: httpx2.AsyncClient) -> None:
        line.answers = False
        check(await client.post("/api/assets", **form()))
        assert (await client.get("/api/records")).status_code == 200
        assert await service.store.expired_files("upload", -1, 10) == []
        line.answers = True
        service.pictures.seconds = 60.0  # type: ignore[attr-defined]
        assert (await client.post("/api/assets", **form())).status_code == 200

    play(scenario)


def test_a_picture_that_cannot_be_read_is_told_as_an_error_and_not_as_half_a_picture(
    play: Callable[[Scenario], None], line: Peer, desk: ModuleType
) -> None:
    async def scenario(service: Service, client: httpx2.AsyncClient) -> None:
        record = await desk.drawn(service)
        address = link(service, record.result_keys[0], HERE)
        assert (await client.get(address)).content == b"PICTURE"
        size = service.pictures.size

        async def size_then_silence(key: str) -> int:
            found = await size(key)
            line.answers = False
            return found

        service.pictures.size = size_then_silence  # type: ignore[method-assign]
        check(await client.get(address))
        check(await client.get(address))

    play(scenario)


def test_references_that_cannot_be_stored_are_refused_and_forgotten(
    play: Callable[[Scenario], None], line: Peer
) -> None:
    async def scenario(service: Service, _: httpx2.AsyncClient) -> None:
        text = "data:image/png;base64,UElDVFVSRQ=="
        sources = [Source(kind="data", text=text, pointer="#/promptObject/imageUrl")]
        gathered = await gather(service, "ours", sources * 3)
        line.answers = False
        with pytest.raises(StorageUnavailable):
            await gather(service, "ours", sources)
        before = line.asked
        await discard(service, "ours", gathered.own)
        assert line.asked == before + 1  # one look is enough; the rest is the sweeper's
        assert await service.store.known_keys(gathered.own) == set()

    play(scenario)


def test_a_record_is_deleted_though_its_pictures_cannot_be(
    play: Callable[[Scenario], None], line: Peer, desk: ModuleType
) -> None:
    async def scenario(service: Service, client: httpx2.AsyncClient) -> None:
        record = await desk.drawn(service, tenant="local")
        line.answers = False
        assert (await client.delete(f"/api/records/{record.id}")).status_code == 204
        assert (await client.get(f"/api/records/{record.id}")).status_code == 404

    play(scenario)


def wish(**more: Any) -> dict[str, Any]:
    form = {"prompt": "a red apple", "megapixels": "0.25", "num_inference_steps": 1}
    return {"type": "IMAGE_GENERATOR", "model": "linocut-mini", "promptObject": form} | more


@pytest.fixture
def on_a_far_disk(running_server: Any, line: Peer) -> Any:
    """A server whose disk is at the other end of the line; a call to it may outlast a lease."""
    return running_server(
        script=far_disk.__file__, FAR_DISK=str(line.address[1]), LINOCUT_STORAGE_SECONDS="8",
        LINOCUT_LEASE="6", LINOCUT_HEARTBEAT="1", LINOCUT_BUSY_TIMEOUT="1",
        LINOCUT_DRAIN_SECONDS="1", LINOCUT_MAX_ATTEMPTS="1", LINOCUT_KEY_RATE="0",
    )  # fmt: skip


def test_a_disk_that_hangs_freezes_nothing_but_what_needs_it(
    on_a_far_disk: Any, line: Peer, desk: ModuleType
) -> None:
    server = on_a_far_disk
    picture = desk.picture(32, 32)

    def upload(_: int = 0) -> Any:
        return server.client.post("/api/assets", files={"asset": ("a.png", picture, "image/png")})

    assert upload().status_code == 200
    line.answers = False
    made = server.client.post("/api/features", json=wish(**{"async": True}))
    uuid = made.json()["aiRecord"]["uuid"]
    with ThreadPoolExecutor(MANY) as crowd:
        answers = crowd.map(upload, range(MANY))
        server.wait_until(lambda: server.client.get("/readyz").status_code == 503)
        assert server.client.get("/readyz").json()["waits_for"] == [
            "the image store does not answer"
        ]
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/api/records").status_code == 200
        for answer in answers:
            check(answer)
    server.wait_until(lambda: "tried again" in server.said)
    assert server.state(uuid) == "PROCESSING"
    line.answers = True
    server.wait_until(lambda: server.state(uuid) == "SUCCESS")  # its only attempt
    assert "leases expired" not in server.said
    link = server.client.get(f"/api/records/{uuid}").json()["aiRecord"]["temporaryUrl"]
    assert server.client.get(link).status_code == 200
    assert upload().status_code == 200
    server.wait_ready()


def test_who_is_told_to_stop_waits_for_no_disk(
    on_a_far_disk: Any, line: Peer, running_server: Any
) -> None:
    server = on_a_far_disk
    line.answers = False
    before = line.asked
    made = server.client.post("/api/features", json=wish(**{"async": True}))
    uuid = made.json()["aiRecord"]["uuid"]
    server.wait_until(lambda: line.asked > before)
    assert server.stop(signal.SIGTERM) == 0
    assert server.state(uuid) == "QUEUED"

    again = running_server(LINOCUT_MAX_ATTEMPTS="1")
    again.wait_until(lambda: again.state(uuid) == "SUCCESS")
