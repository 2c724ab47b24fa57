"""A record as its caller sees it: links that begin where the world reaches us, and what waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from linocut.server.answers import base_url, find, kept_until, link, waiting
from linocut.server.context import Service

NOWHERE = "0199e8a4-5b8c-7d2e-9f10-1a2b3c4d5e6f"


def asked(service: Service, host: str = "", **more: Any) -> Request:
    """A request that came to this service."""
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "headers": [(b"host", host.encode())] if host else [],
        "server": ("127.0.0.1", 8000),
        "app": SimpleNamespace(state=SimpleNamespace(service=service)),
    }
    return Request(scope | more)


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({}, "", "http://127.0.0.1:8000"),
        ({}, "evil.example", "http://127.0.0.1:8000"),
        ({"public_url": "https://a.example/lino/"}, "evil.example", "https://a.example/lino"),
        ({"allowed_hosts": ("a.example",)}, "A.example:8443", "http://a.example:8443"),
        ({"allowed_hosts": ("a.example:1",)}, "a.example:2", "http://127.0.0.1:8000"),
        ({"allowed_hosts": ("a.example",)}, "a.example.evil", "http://127.0.0.1:8000"),
        ({"allowed_hosts": ("[::1]",)}, "[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_links_begin_where_the_operator_says_or_where_we_listen(
    tmp_path: Path, desk: ModuleType, settings: dict[str, Any], host: str, expected: str
) -> None:
    async def scenario(service: Service) -> str:
        return base_url(asked(service, host))

    assert desk.run(tmp_path, scenario, **settings) == expected


def test_an_address_of_ipv6_is_put_in_brackets(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> str:
        return base_url(asked(service, server=("::1", 80)))

    assert desk.run(tmp_path, scenario) == "http://[::1]:80"


def test_a_link_ends_its_path_with_the_key_and_holds(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> str:
        return link(service, "images/a.webp", "http://here")

    address = desk.run(tmp_path, scenario)
    path, _, query = address.partition("?")
    assert path == "http://here/files/images/a.webp"
    assert [each.partition("=")[0] for each in query.split("&")] == ["exp", "kid", "sig"]


def test_an_id_finds_the_tenants_record_alone(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        record = await desk.submitted(service)
        found = await find(service, "ours", record.id.upper())
        assert found is not None
        assert found.id == record.id
        for tenant, text in (("theirs", record.id), ("ours", NOWHERE), ("ours", "none\0")):
            assert await find(service, tenant, text) is None

    desk.run(tmp_path, scenario)


def test_what_waits_longer_is_told_so(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        records = [await desk.submitted(service) for _ in range(3)]  # two seconds each
        stands = [await waiting(service, record) for record in records]
        assert [each.place for each in stands] == [1, 2, 3]
        assert [each.seconds for each in stands] == [2.0, 4.0, 6.0]

    desk.run(tmp_path, scenario)


def test_what_is_drawn_has_the_rest_of_its_estimate_left(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        await desk.submitted(service)
        record = await service.store.claim("test", 30.0)
        assert record is not None
        stands = await waiting(service, record)
        assert stands.place == 0
        assert stands.seconds is not None
        assert 0 <= stands.seconds <= record.estimate

    desk.run(tmp_path, scenario)


def test_retention_counts_from_the_end_and_spares_stars(tmp_path: Path, desk: ModuleType) -> None:
    async def scenario(service: Service) -> None:
        record = await desk.drawn(service)
        assert record.finished_at is not None
        assert kept_until(service, record) == record.finished_at + 86_400
        assert kept_until(service, replace(record, starred=True)) is None

    desk.run(tmp_path, scenario, retention_days=1)
