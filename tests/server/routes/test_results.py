"""Polling: a record as it stands, and null for what is not there, as the hosted API says it."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

ROUTES = ("/api/results/", "/api/features/")
ABSENT = "0199e8a4-5b8c-7d2e-9f10-1a2b3c4d5e6f"


@pytest.mark.parametrize("route", ROUTES)
def test_a_record_is_told_with_a_link_of_its_own(
    shared_server: Any, desk: ModuleType, route: str
) -> None:
    record = shared_server.client.post("/api/features", json=desk.call()).json()["aiRecord"]
    answer = shared_server.client.get(route + record["uuid"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()["aiRecord"]
    assert told["uuid"] == record["uuid"]
    assert shared_server.client.get(told["temporaryUrl"]).status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("uuid", [ABSENT, "none", "%00", "%ff", "1e999", "a" * 300])
def test_what_is_no_record_is_null(shared_server: Any, route: str, uuid: str) -> None:
    answer = shared_server.client.get(route + uuid)
    assert (answer.status_code, answer.json()) == (200, {"aiRecord": None})


def test_a_foreign_record_is_null_too(shared_server: Any, desk: ModuleType) -> None:
    record = shared_server.client.post("/api/features", json=desk.call()).json()["aiRecord"]
    headers = {"API-KEY": shared_server.add_key()}
    answer = shared_server.client.get(f"/api/results/{record['uuid']}", headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"aiRecord": None})


def test_an_id_counts_in_any_spelling(shared_server: Any, desk: ModuleType) -> None:
    uuid = shared_server.client.post("/api/features", json=desk.call()).json()["aiRecord"]["uuid"]
    for spelled in (uuid.upper(), uuid.replace("-", "")):
        answer = shared_server.client.get(f"/api/results/{spelled}")
        assert answer.json()["aiRecord"]["uuid"] == uuid
