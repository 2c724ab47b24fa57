"""The application as a whole: what holds for every address."""

from __future__ import annotations

import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from linocut.server.app import create_app
from linocut.server.context import Service

ORIGIN = "https://app.example.org"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/livez", "/api/records", "/nope"])
def test_every_answer_is_named_and_guarded(shared_server: Any, path: str) -> None:
    answer = shared_server.client.get(path, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


def test_what_is_not_there_is_a_problem_with_the_request_s_name(shared_server: Any) -> None:
    answer = shared_server.client.get("/nope", headers={"X-Request-Id": "mine-2"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "mine-2"


def test_what_nobody_expected_is_named_and_guarded_too(tmp_path: Path, desk: ModuleType) -> None:
    async def breaks() -> None:
        raise ZeroDivisionError("a secret")

    async def scenario(service: Service) -> httpx2.Response:
        app = create_app(service)
        app.add_api_route("/breaks", breaks)
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/breaks", headers={"Origin": ORIGIN, "X-Request-Id": "mine"})

    answer = desk.run(tmp_path, scenario, cors_origins=(ORIGIN,))
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text


@pytest.mark.parametrize(("auth", "status"), [(True, 401), (False, 403)])
def test_where_nobody_needs_a_key_other_names_and_sites_are_kept_out(
    tmp_path: Path, desk: ModuleType, auth: bool, status: int
) -> None:
    async def scenario(service: Service) -> list[int]:
        transport = httpx2.ASGITransport(app=create_app(service))
        async with httpx2.AsyncClient(transport=transport, base_url="http://evil.test") as client:
            by_name = await client.get("/api/records")
            by_page = await client.post(
                "http://localhost/api/features",
                content=b"{}",
                headers={"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.test"},
            )
            return [by_name.status_code, by_page.status_code]

    said = {"auth": auth, "public_url": "https://lino.example.org"}
    assert desk.run(tmp_path, scenario, **said) == [status, status]


def test_another_method_is_a_problem_too(shared_server: Any) -> None:
    answer = shared_server.client.put("/api/features")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_a_slash_too_many_is_not_sent_elsewhere(shared_server: Any) -> None:
    assert shared_server.client.get("/livez/").status_code == 404


def test_what_is_no_http_is_a_problem_as_well(shared_server: Any) -> None:
    with socket.create_connection(shared_server.address, timeout=30) as line:
        line.sendall(b"hello\r\n\r\n")
        said = b"".join(iter(lambda: line.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in said


def test_the_description_names_what_there_is(shared_server: Any) -> None:
    described = shared_server.client.get("/openapi.json").json()
    assert described["info"]["title"] == "linocut"
    assert {"/api/features", "/readyz", "/metrics"} <= set(described["paths"])
    schemes = described["components"]["securitySchemes"]
    assert schemes["ApiKey"] == schemes["ApiKey"] | {"in": "header", "name": "API-KEY"}


def test_browsers_of_other_origins_are_not_let_in(shared_server: Any) -> None:
    answer = httpx2.get(f"{shared_server.url}/livez", headers={"Origin": ORIGIN})
    assert "access-control-allow-origin" not in answer.headers


def test_origins_that_are_named_are_let_in_and_bodies_are_capped(running_server: Any) -> None:
    server = running_server(
        LINOCUT_CORS_ORIGINS=ORIGIN, LINOCUT_MAX_BODY="5000", LINOCUT_MAX_UPLOAD="4000", ready=False
    )
    asks = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "api-key,content-type,idempotency-key",
    }
    allowed = httpx2.options(f"{server.url}/api/features", headers=asks)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in allowed.headers
    other = httpx2.options(f"{server.url}/api/features", headers=asks | {"Origin": "https://x.y"})
    assert "access-control-allow-origin" not in other.headers

    refused = httpx2.post(
        f"{server.url}/api/features", content=b"x" * 6000, headers={"Origin": ORIGIN}
    )
    assert refused.status_code == 413
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    exposed = refused.headers["access-control-expose-headers"]
    assert {"X-Request-Id", "Retry-After", "RateLimit"} <= set(exposed.split(", "))
