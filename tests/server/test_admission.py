"""From a call to a record: what is decided on the way, and what a refusal leaves behind."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from linocut.errors import IdempotencyMismatch, QueueFull, QuotaExceeded, Unavailable
from linocut.jobs.terms import Limits
from linocut.server.admission import UNKNOWN_SECONDS, Wish, admit, limits, may_disable_safety
from linocut.server.context import Service
from linocut.server.dialects.features import parse

PICTURE = "data:image/png;base64," + base64.b64encode(b"PICTURE").decode()


def wish(more: dict[str, Any] | None = None, **said: Any) -> Wish:
    """A call for a red apple."""
    body = {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": {"prompt": "a red apple"} | (more or {}),
    }
    return Wish(call=parse(body), **said)


def test_a_call_becomes_a_record_that_waits(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        submitted = await admit(service, desk.caller(), wish({"seed": 7}))
        assert (submitted.place, submitted.replayed) == (1, False)
        record = await service.store.record("ours", submitted.record.id)
        assert record is not None
        assert record.state == "QUEUED"
        assert record.order.request.seed == 7
        assert record.estimate == UNKNOWN_SECONDS

    desk.run(tmp_path, scenario)


def test_what_nobody_can_estimate_yet_takes_what_the_quota_has_left(
    tmp_path: Path, desk: ModuleType
) -> None:
    async def scenario(service: Service) -> None:
        caller = desk.caller(quota_seconds=7.0)
        assert (await admit(service, caller, wish())).record.estimate == 7.0
        with pytest.raises(QuotaExceeded):
            await admit(service, caller, wish())

    desk.run(tmp_path, scenario)


def test_a_seed_is_drawn_where_none_was_sent(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> list[int]:
        caller = desk.caller()
        records = [(await admit(service, caller, wish())).record for _ in range(3)]
        return [record.order.request.seed for record in records]

    seeds = desk.run(tmp_path, scenario)
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_the_workers_estimate_is_reserved(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        service = replace(service, supervisor=desk.NoWorker(12.5))
        call = wish({"imageUrl": PICTURE, "go_fast": True})
        record = (await admit(service, desk.caller(), call)).record
        assert record.estimate == 12.5
        assert service.supervisor.sizes == [(80, 64)]  # type: ignore[attr-defined]
        assert service.supervisor.more == {"go_fast": True}  # type: ignore[attr-defined]
        await admit(service, desk.caller(), wish({"go_fast": False}))
        assert service.supervisor.more == {"go_fast": False}  # type: ignore[attr-defined]

    desk.run(tmp_path, scenario)


def test_the_same_key_leads_to_the_same_record(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        caller, same = desk.caller(), wish(idempotency_key="k", fingerprint="f")
        first, second = [await admit(service, caller, same) for _ in range(2)]
        assert (first.replayed, second.replayed) == (False, True)
        assert first.record.id == second.record.id
        with pytest.raises(IdempotencyMismatch):
            await admit(service, caller, wish(idempotency_key="k", fingerprint="other"))
        other = await admit(service, desk.caller("theirs"), same)
        assert other.record.id != first.record.id

    desk.run(tmp_path, scenario)


def test_a_refusal_leaves_no_picture_behind(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> list[str]:
        caller = desk.caller(share=1)
        await admit(service, caller, wish())
        with pytest.raises(QueueFull):
            await admit(service, caller, wish({"imageUrl": PICTURE}))
        return await service.pictures.keys(older_than=-1.0)

    assert desk.run(tmp_path, scenario) == []


def test_a_server_that_leaves_takes_nothing(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        service.draining.on = True
        with pytest.raises(Unavailable) as caught:
            await admit(service, desk.caller(), wish())
        assert caught.value.retry_after > 0

    desk.run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("policy", "allowed", "counts"),
    [
        ("on", True, False),
        ("per-key", False, False),
        ("per-key", True, True),
        ("off", False, True),
    ],
)
def test_the_operators_policy_says_who_may_switch_safety_off(
    tmp_path: Path, desk: ModuleType, policy: str, allowed: bool, counts: bool
) -> None:
    async def scenario(service: Service) -> None:
        caller = desk.caller(allow_unsafe=allowed)
        assert may_disable_safety(service, caller) is counts
        call = wish({"disable_safety_checker": True})
        record = (await admit(service, caller, call)).record
        assert record.order.check_safety is not counts

    desk.run(tmp_path, scenario, safety=policy)


def test_the_limits_are_the_servers_and_the_callers(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        asked = limits(service, desk.caller(share=5, quota_seconds=7.0))
        assert asked == Limits(queue=9, share=5, quota_seconds=7.0, workers=2)

    desk.run(tmp_path, scenario, queue_limit=9, workers=2)
