"""The life of a server process: what it loads, says and holds, and how it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from linocut.errors import InvalidRequest
from linocut.jobs.record import Record, State
from linocut.server import streams
from linocut.server.parts import open_service
from linocut.server.run import Leaves, Life, Stop, bind, url_of
from linocut.server.settings import Settings

Servers = Callable[..., Any]
SOURCES = Path(__file__).parents[2] / "src"
HEAVY = {"torch", "numpy", "onnxruntime", "transformers", "diffusers", "PIL.Image"}


def asked(steps: int = 2, **more: Any) -> dict[str, Any]:
    """A request's body."""
    return {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": {"prompt": "a red apple", "num_inference_steps": steps, "seed": 1},
        **more,
    }


@pytest.fixture(scope="module")
def first(shared_server: Any) -> Any:
    """A server at its first start, and its folder's only one."""
    return shared_server


def test_a_first_start_says_all_that_a_person_needs(first: Any) -> None:
    first.wait_until(lambda: "Ready after" in first.said)
    said = first.out.read_text(encoding="utf-8")
    assert f"Playground  {first.url}/\n" in said
    assert f"{first.url}/api/features" in said
    assert "curl --location" in said
    assert "Next: " in said


def test_the_printed_command_draws_as_it_stands(first: Any) -> None:
    said = first.out.read_text(encoding="utf-8")
    command = said[said.index("curl --location") : said.index("}'\n") + 3]
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=True)
    record = json.loads(done.stdout)["aiRecord"]
    assert record["status"] == "SUCCESS"
    assert first.client.get(record["temporaryUrl"]).content[8:12] == b"WEBP"


def test_one_server_for_a_folder(first: Any) -> None:
    done = linocut("serve", "--data-dir", first.folder, "--port", "0")
    assert done.returncode == 1
    assert "error: a server is running on" in done.stderr
    assert first.client.get("/livez").status_code == 200


def test_no_prompt_key_or_signature_is_in_what_it_says(first: Any) -> None:
    body, named = asked(), {"X-Request-Id": "what-is-said-of-this"}
    body["promptObject"]["prompt"] = "zebrafish quartet"
    record = first.client.post("/api/features", json=body, headers=named).json()["aiRecord"]
    assert first.client.get(record["temporaryUrl"], headers=named).status_code == 200
    first.client.get("/api/records?search=zebrafish", headers=named)
    first.client.get("/zebrafish/quartet", headers=named)
    wrong = named | {"API-KEY": first.key[:-1] + "x"}
    first.client.post("/api/features", json=body, headers=wrong)

    def told() -> int:
        lines = [line for line in first.lines if line["event"] == "request"]
        return sum(line["request_id"] == named["X-Request-Id"] for line in lines)

    first.wait_until(lambda: told() == 5)
    said = first.said.lower()
    assert "zebrafish" not in said
    assert first.key.startswith("lino_")
    assert first.key[14:].lower() not in said
    assert "sig=" not in said
    assert (first.folder / "admin.key").stat().st_mode & 0o777 == 0o600


def linocut(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command that is to fail."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LINOCUT_")}
    return subprocess.run(
        [sys.executable, "-m", "linocut", *arguments],
        env={**kept, **variables, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_port_that_is_taken_is_said_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = linocut("serve", "--data-dir", tmp_path / "d", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(f"error: port {port} on 127.0.0.1")
    assert f"--port {port + 1}" in done.stderr
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--host", "0.0.0.0", "--no-auth"), 2, "can be reached by others"),  # noqa: S104
        (("--checkpoint", "no-such-checkpoint"), 4, "no-such-checkpoint"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = linocut("serve", "--data-dir", tmp_path / "d", "--port", "0", *arguments)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_checkpoint_that_cannot_judge_prompts_is_told_before_anything_is_made(
    tmp_path: Path,
) -> None:
    asked = {"LINOCUT_SAFETY_MODEL": "text_encoder"}
    done = linocut("serve", "--data-dir", tmp_path / "d", "--port", "0", **asked)
    assert done.returncode == 4
    assert "linocut-mini has 7 layers and cannot answer" in done.stderr
    assert "safety_model=terms" in done.stderr
    assert not (tmp_path / "d").exists()


def test_the_server_holds_no_model_and_no_pixels(tmp_path: Path) -> None:
    code = (
        "import asyncio, os, signal, sys\n"
        "from linocut.server import run\n"
        "from linocut.server.environment import read_settings\n"
        "def tell(news):\n"
        "    if isinstance(news, run.Draws):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "asyncio.run(run.serve(read_settings(os.environ).settings, tell))\n"
        f"print('LOADED', sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LINOCUT_DATA_DIR": str(tmp_path / "d"), "LINOCUT_PORT": "0",
             "LINOCUT_WORKER": "fake", "PYTHONPATH": str(SOURCES)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "LOADED []" in done.stdout, done.stderr


def test_draining_lets_what_runs_finish_and_gives_back_the_rest(running_server: Servers) -> None:
    server = running_server(LINOCUT_DRAIN_SECONDS="60", LINOCUT_MAX_ATTEMPTS="1")
    body = asked(steps=20) | {"async": True}
    with server.frozen_workers():
        one, other = (
            server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"] for _ in "12"
        )
        server.wait_until(lambda: server.state(one) == "PROCESSING")
        server.process.send_signal(signal.SIGTERM)
        server.wait_until(lambda: server.client.get("/readyz").json()["status"] == "DRAINING")
        assert server.client.get("/readyz").status_code == 503
        refused = server.client.post("/api/features", json=body)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
    assert server.ended() == 0
    assert (server.state(one), server.state(other)) == ("SUCCESS", "QUEUED")
    key = server.key

    again = running_server(LINOCUT_MAX_ATTEMPTS="1")
    again.wait_until(lambda: again.state(other) == "SUCCESS")
    assert again.key == key
    assert "linocut keys add NAME" in again.said


def test_what_cannot_finish_goes_back_and_whoever_waits_is_told(running_server: Servers) -> None:
    server = running_server(
        LINOCUT_WORKER="fake --step-seconds=600", LINOCUT_DRAIN_SECONDS="0",
        LINOCUT_MAX_ATTEMPTS="1",
    )  # fmt: skip
    body = asked() | {"async": True}
    uuid = server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"]
    server.wait_until(lambda: server.state(uuid) == "PROCESSING")
    answers: list[httpx2.Response] = []
    blocking = threading.Thread(
        target=lambda: answers.append(server.client.post("/api/features", json=asked()))
    )
    blocking.start()
    server.wait_until(lambda: len(server.client.get("/api/records").json()["records"]) == 2)
    with server.client.stream("GET", f"/api/records/{uuid}/events") as stream:
        lines = stream.iter_lines()
        assert next(line for line in lines if line.startswith("event: "))
        server.process.send_signal(signal.SIGTERM)
        assert "event: shutdown" in list(lines)
    blocking.join(60)
    assert [answer.status_code for answer in answers] == [202]
    assert server.ended() == 0
    assert server.state(uuid) == "QUEUED"

    again = running_server(LINOCUT_MAX_ATTEMPTS="1")
    again.wait_until(lambda: again.state(uuid) == "SUCCESS")


def test_insisting_does_not_wait(running_server: Servers) -> None:
    server = running_server(LINOCUT_WORKER="fake --step-seconds=600", LINOCUT_DRAIN_SECONDS="3600")
    body = asked() | {"async": True}
    uuid = server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"]
    server.wait_until(lambda: server.state(uuid) == "PROCESSING")
    server.process.send_signal(signal.SIGINT)
    server.wait_until(lambda: "Stopping" in server.said)
    assert server.stop(signal.SIGINT) == 0
    assert server.state(uuid) == "QUEUED"


def test_a_server_without_work_has_idle_workers_and_nothing_to_wait_for(
    running_server: Servers,
) -> None:
    server = running_server(LINOCUT_WORKERS="2", LINOCUT_DRAIN_SECONDS="3600")

    def is_idle() -> bool:
        found = server.client.get("/readyz").json()
        states = [worker["state"] for worker in found["workers"]]
        return (found["status"], states) == ("READY", ["idle", "idle"])

    server.wait_until(is_idle)
    assert server.stop() == 0
    assert "Stopping." in server.said
    assert "to end" not in server.said


def test_who_waits_does_not_have_to_look_whether_the_server_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "TICK", 3600.0)

    async def story() -> None:
        settings = Settings(
            data_dir=tmp_path, auth=False, worker="fake --step-seconds=600", drain_seconds=0
        )
        stop, heard = Stop(), set[str]()
        async with open_service(settings) as service:
            listen = service.bus.listen

            def noted(record_id: str, **how: Any) -> Any:
                heard.add(record_id)
                return listen(record_id, **how)

            service.bus.listen = noted  # type: ignore[method-assign]
            with bind("127.0.0.1", 0) as door:
                life = Life(service, door, url_of(door), lambda _: None, stop)
                living = asyncio.create_task(life.live(time.monotonic(), None))
                async with httpx2.AsyncClient(
                    base_url=url_of(door), timeout=120, trust_env=False
                ) as client:
                    drawn = await client.post("/api/features", json=asked() | {"async": True})
                    uuid = drawn.json()["aiRecord"]["uuid"]
                    while uuid not in heard:  # noqa: ASYNC110 - it runs now, and the next one waits
                        await asyncio.sleep(0.01)
                    asking = asyncio.create_task(client.post("/api/features", json=asked()))
                    while not heard - {uuid, ""}:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                    stop.ask()
                    assert (await asking).status_code == 202
                await living

    asyncio.run(story())


@pytest.mark.parametrize(("waiting", "grace"), [(0, 0.0), (1, 3600.0)])
def test_who_leaves_while_a_lane_looks_for_work_waits_only_for_what_it_finds(
    tmp_path: Path, desk: ModuleType, waiting: int, grace: float
) -> None:
    async def story() -> None:
        settings = Settings(data_dir=tmp_path, worker="fake", drain_seconds=3600)
        looks, may_find = asyncio.Event(), asyncio.Event()
        stop, told = Stop(), list[Any]()
        async with open_service(settings) as service:
            records = [await desk.submitted(service) for _ in range(waiting)]
            claim = service.store.claim

            async def slow(lane: str, lease: float) -> Record | None:
                looks.set()
                await may_find.wait()
                return await claim(lane, lease)

            service.store.claim = slow  # type: ignore[method-assign]
            with bind("127.0.0.1", 0) as door:
                life = Life(service, door, url_of(door), told.append, stop)
                living = asyncio.create_task(life.live(time.monotonic(), None))
                await looks.wait()
                assert [one.state for one in service.supervisor.conditions()] == ["busy"]
                stop.ask()
                while not service.draining.on:  # noqa: ASYNC110 - there is no event for it
                    await asyncio.sleep(0.01)
                may_find.set()
                await living
            ends = [await service.store.record(each.tenant, each.id) for each in records]
        assert told[-1] == Leaves(grace)
        assert [each and each.state for each in ends] == [State.SUCCESS] * waiting

    asyncio.run(story())


def test_it_stops_while_its_worker_is_still_loading(running_server: Servers) -> None:
    server = running_server(
        LINOCUT_WORKER="fake --load-seconds=600", LINOCUT_DRAIN_SECONDS="3600", ready=False
    )
    server.wait_until(lambda: server.client.get("/readyz").json()["status"] == "STARTING")
    assert server.stop() == 0


def test_a_door_on_every_address_is_reached_on_this_one() -> None:
    with bind("0.0.0.0", 0) as door:  # noqa: S104 - for a moment
        assert url_of(door).startswith("http://127.0.0.1:")
    with bind("::1", 0) as door:
        assert url_of(door).startswith("http://[::1]:")


def test_a_host_that_is_none_is_said() -> None:
    with pytest.raises(InvalidRequest, match=r"host=nowhere\.invalid"):
        bind("nowhere.invalid", 0)
