"""Whether the server is alive and ready, and what it waits for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from linocut.errors import StorageUnavailable, Unavailable
from linocut.server import health
from linocut.server.health import Glance, Readiness, readiness
from linocut.workers.protocol import Condition

SOURCES = Path(__file__).parents[2] / "src"


def condition(state: str, reason: str = "", restarts: int = 0) -> Condition:
    """A worker in this state."""
    return Condition(name="worker-0", state=state, reason=reason, restarts=restarts)


def asked(*conditions: Condition, **more: Any) -> Readiness:
    """How a server with these workers is; `database`, `storage`: what their pings raise."""

    async def ping(error: Exception | None) -> None:
        if error is not None:
            raise error

    service: Any = SimpleNamespace(
        store=SimpleNamespace(ping=lambda: ping(more.get("database"))),
        pictures=SimpleNamespace(ping=lambda: ping(more.get("storage"))),
        supervisor=SimpleNamespace(conditions=lambda: conditions),
        draining=SimpleNamespace(on=more.get("draining", False)),
    )
    return asyncio.run(readiness(service))


@pytest.mark.parametrize(
    ("conditions", "status", "ready"),
    [
        ([condition("idle")], "READY", True),
        ([condition("busy")], "BUSY", True),
        ([condition("busy"), condition("idle")], "READY", True),
        ([condition("busy"), condition("busy")], "BUSY", True),
        ([condition("busy"), condition("starting")], "BUSY", True),
        ([condition("starting")], "STARTING", False),
        ([], "STARTING", False),
        ([condition("starting", "it crashed", 1)], "DEGRADED", False),
        ([condition("down", "it crashed", 1)], "DEGRADED", False),
        ([condition("down", "it crashed", 1), condition("idle")], "DEGRADED", True),
    ],
)
def test_the_workers_make_the_state(conditions: list[Condition], status: str, ready: bool) -> None:
    found = asked(*conditions)
    assert (found.status, found.ready) == (status, ready)


def test_what_it_waits_for_is_said_in_words() -> None:
    assert asked(condition("starting")).waits_for == ("worker worker-0 is loading its checkpoint",)
    down = asked(condition("down", "the worker ran out of memory", 2))
    assert down.waits_for == ("worker worker-0 is down: the worker ran out of memory",)
    assert down.workers[0].restarts == 2


def test_without_its_database_or_its_store_it_is_not_ready() -> None:
    database = asked(condition("idle"), database=Unavailable("it does not answer", retry_after=1))
    storage = asked(
        condition("idle"), storage=StorageUnavailable("the disk is full", retry_after=1)
    )
    assert (database.status, database.ready) == ("DEGRADED", False)
    assert database.waits_for == ("the database: it does not answer",)
    assert (storage.status, storage.ready) == ("DEGRADED", False)
    assert storage.waits_for == ("the image store: the disk is full",)


def test_a_database_that_hangs_does_not_hang_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    assert asyncio.run(health._trouble("the database", asyncio.Event().wait())) == (  # type: ignore[arg-type]
        "the database does not answer"
    )


class Counted:
    """A service without anything, which counts how often it is looked up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = 0
        self.draining = SimpleNamespace(on=False)
        monkeypatch.setattr(health, "readiness", self.readiness)

    async def readiness(self, _: Any) -> Readiness:
        """A new answer, which takes a moment."""
        self.looks += 1
        await asyncio.sleep(0.01)
        return Readiness(status="READY", ready=True, waits_for=(), workers=())


def test_who_asks_at_the_same_time_shares_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        service: Any = Counted(monkeypatch)
        glance = Glance(service)
        gone, *others = (asyncio.create_task(glance.look()) for _ in range(20))
        await asyncio.sleep(0)
        gone.cancel()
        assert {found.status for found in await asyncio.gather(*others)} == {"READY"}
        assert service.looks == 1

    monkeypatch.setattr(health, "KEPT", 600.0)
    asyncio.run(scenario())


def test_an_answer_is_kept_until_it_is_old_or_the_server_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> None:
        service: Any = Counted(monkeypatch)
        glance = Glance(service)
        monkeypatch.setattr(health, "KEPT", 600.0)
        for _ in range(3):
            await glance.look()
        assert service.looks == 1
        service.draining.on = True
        for _ in range(3):
            await glance.look()
        assert service.looks == 2
        monkeypatch.setattr(health, "KEPT", 0.0)
        await glance.look()
        assert service.looks == 3

    asyncio.run(scenario())


def test_a_server_that_leaves_is_not_ready() -> None:
    found = asked(condition("idle"), draining=True)
    assert (found.status, found.ready) == ("DRAINING", False)
    assert found.waits_for == ("the server is stopping",)


@pytest.mark.parametrize(("path", "key"), [("/livez", "status"), ("/health", "status")])
def test_it_is_alive(shared_server: Any, path: str, key: str) -> None:
    answer = httpx2.get(shared_server.url + path)
    assert (answer.status_code, answer.json()[key]) == (200, "ALIVE")


@pytest.mark.parametrize("path", ["/readyz", "/ready"])
def test_it_is_ready_and_says_what_draws(shared_server: Any, path: str) -> None:
    answer = httpx2.get(shared_server.url + path)
    assert answer.status_code == 200
    found = answer.json()
    assert found["status"] in {"READY", "BUSY"}
    assert found["waits_for"] == []
    assert found["workers"][0]["checkpoint"] == "fake"


def test_metrics_are_for_admins(shared_server: Any) -> None:
    anonymous = httpx2.get(f"{shared_server.url}/metrics")
    drawer = shared_server.client.get("/metrics", headers={"API-KEY": shared_server.add_key()})
    assert (anonymous.status_code, drawer.status_code) == (401, 403)


def test_metrics_tell_what_happened(shared_server: Any) -> None:
    body = {"type": "IMAGE_GENERATOR", "model": "black-forest-labs/flux-2-dev",
            "promptObject": {"prompt": "a red apple", "num_inference_steps": 1}}  # fmt: skip
    before = _counted(shared_server, 'jobs_total{state="SUCCESS"}')
    drawn = shared_server.client.post("/api/features", json=body)
    assert drawn.status_code == 200
    assert _counted(shared_server, 'jobs_total{state="SUCCESS"}') == before + 1
    assert _counted(shared_server, "assets_bytes_total") > 0
    shared_server.client.get("/api/records")
    shared_server.client.get("/nowhere/at/all")
    page = shared_server.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'http_requests_total{method="GET",route="/api/records",status="200"}' in page.text
    assert 'route="(none)",status="404"' in page.text
    assert 'engine_up{worker="worker-0"} 1.0' in page.text
    assert "job_queue_depth 0.0" in page.text


def _counted(server: Any, sample: str) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(sample + " "))


def test_a_token_reads_metrics_and_nothing_else(running_server: Any) -> None:
    token = "for-prometheus"  # noqa: S105
    server = running_server(LINOCUT_METRICS_TOKEN=token, ready=False)
    bearer = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{server.url}/metrics", headers=bearer).status_code == 200
    assert httpx2.get(f"{server.url}/api/records", headers=bearer).status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_who_asks_for_the_headers_alone_gets_the_same_status(shared_server: Any, path: str) -> None:
    answer = shared_server.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_check_that_cannot_be_loaded_is_what_it_waits_for(
    running_server: Any, tmp_path: Path
) -> None:
    module = "def offline():\n    raise ConnectionError('no answer from the judge')\n"
    (tmp_path / "house_checks.py").write_text(module, encoding="utf-8")
    server = running_server(
        ready=False,
        LINOCUT_WORKER="engine",
        LINOCUT_PICTURE_CHECKS="opennsfw,house_checks:offline",
        PYTHONPATH=os.pathsep.join((str(SOURCES), str(tmp_path))),
    )
    why = (
        "the picture check house_checks:offline cannot be loaded: "
        "ConnectionError: no answer from the judge (house_checks.py, line 2)"
    )
    server.wait_until(lambda: f"Not ready yet: {why}" in server.said)
    answer = server.client.get("/readyz")
    assert answer.status_code == 503
    (waits,) = answer.json()["waits_for"]
    assert waits.endswith(f": {why}")
    assert "Traceback" not in server.said
