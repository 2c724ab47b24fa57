"""The parts of a service, as the settings ask for them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from linocut.errors import Conflict
from linocut.server import parts
from linocut.server.context import Service
from linocut.server.parts import open_dispatcher, open_outbox, open_service, open_sweeper
from linocut.server.settings import Settings


def run(folder: Path, check: Callable[[Service], Awaitable[None]], **settings: Any) -> None:
    """The check with a service on this folder; no worker is started."""

    async def inside() -> None:
        async with open_service(Settings(data_dir=folder, **settings)) as service:
            await check(service)

    asyncio.run(inside())


def test_a_service_holds_its_folder_and_lets_go_of_it(tmp_path: Path) -> None:
    async def check(_: Service) -> None:
        with pytest.raises(Conflict, match="a server is running"):
            async with open_service(Settings(data_dir=tmp_path)):
                pass

    run(tmp_path, check)
    run(tmp_path, lambda service: service.store.ping())


def test_the_parts_know_the_settings(tmp_path: Path) -> None:
    async def check(service: Service) -> None:
        assert service.limiter.rate == 7
        assert service.keyring.defaults == parts.KeyDefaults(rate=7, share=2, quota_seconds=9)
        assert service.fetching.max_bytes == 5000
        assert not service.fetching.enabled
        assert service.signer.ring == service.secrets.links
        dispatcher = open_dispatcher(service)
        assert (dispatcher.timing.lease, dispatcher.timing.heartbeat) == (2, 0.5)
        assert (dispatcher.timing.max_attempts, dispatcher.runs.prefix) == (5, "team-a/")
        assert not dispatcher.runs.embed_prompt
        assert open_sweeper(service).keeping.records == 3 * 86_400
        assert open_sweeper(service).keeping.total_bytes is None

    run(
        tmp_path, check, key_rate=7, key_share=2, key_quota=9, max_upload=5000, fetch=False,
        lease=2, heartbeat=0.5, busy_timeout=0.2, max_attempts=5, prefix="team-a/",
        embed_prompt=False, retention_days=3,
    )  # fmt: skip


def test_webhooks_are_sent_even_where_pictures_are_not_fetched(tmp_path: Path) -> None:
    async def check(service: Service) -> None:
        policy = open_outbox(service, "http://here").policy
        assert policy.enabled
        assert policy.allowed_hosts == {"nas.lan:8080"}

    run(tmp_path, check, fetch=False, fetch_allow=("nas.lan:8080",))


def started(settings: Settings, number: int) -> list[str]:
    """The command of the i-th worker."""
    worker: Any = parts._maker(settings)(number)
    return list(worker._command)


def test_a_worker_is_told_what_to_draw_with(tmp_path: Path) -> None:
    command = started(
        Settings(
            checkpoint="mine", home=tmp_path, dtype="bfloat16", threads=3, device="cpu",
            safety_model="text_encoder", text_layers="10,20",
            prompt_checks=("terms", "my_checks:Names"), picture_checks=("my_checks:Blank",),
        ),
        0,
    )  # fmt: skip
    assert command[:3] == [sys.executable, "-m", "linocut.workers.child"]
    said = {"--checkpoint=mine", f"--home={tmp_path}", "--dtype=bfloat16", "--threads=3"}
    said |= {"--device=cpu", "--safety-model=text_encoder", "--text-layers=10,20"}
    said |= {"--prompt-checks=terms,my_checks:Names", "--picture-checks=my_checks:Blank"}
    assert said <= set(command)


def test_what_is_not_set_is_left_to_the_worker() -> None:
    absent = ("--dtype", "--threads", "--text-layers")
    assert not [word for word in started(Settings(), 0) if word.startswith(absent)]


def test_several_workers_on_gpus_get_one_each() -> None:
    several = Settings(device="cuda", workers=2)
    assert "--device=cuda:1" in started(several, 1)
    assert "--device=cuda" in started(Settings(device="cuda"), 0)
    assert "--device=cpu" in started(Settings(device="cpu", workers=2), 1)


def test_the_fake_worker_gets_its_arguments() -> None:
    command = started(Settings(worker="fake --step-seconds=0.5 --state-dir='/a b'"), 0)
    assert command[2] == "linocut.workers.fake"
    assert command[-2:] == ["--step-seconds=0.5", "--state-dir=/a b"]
