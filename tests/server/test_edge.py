"""What every request passes: a name, a line of log, headers that protect, and limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from structlog.testing import capture_logs

from linocut.errors import LinocutError
from linocut.server.edge import REQUEST_ID, Cap, Crowd, Local, Safe, Watch
from linocut.server.metrics import Metrics

Answer = Callable[[Request], Awaitable[Response]]


def ask(app: Any, *calls: tuple[str, str, dict[str, Any]]) -> list[httpx2.Response]:
    """The answers to calls that are made at once."""

    async def run() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(
                *(client.request(method, path, **more) for method, path, more in calls)
            )

    return asyncio.run(run())


def get(app: Any, path: str = "/", **headers: str) -> httpx2.Response:
    """The answer to one call."""
    (answer,) = ask(app, ("GET", path, {"headers": headers}))
    return answer


def routed(path: str, answer: Answer) -> Starlette:
    """An application of one route."""
    return Starlette(routes=[Route(path, answer, methods=["GET", "POST"])])


async def size(request: Request) -> Response:
    """How long the body is."""
    return PlainTextResponse(str(len(await request.body())))


async def name(request: Request) -> Response:
    """What the request is called."""
    return PlainTextResponse(request.state.request_id)


@pytest.mark.parametrize("sent", ["abc", "A.b_c-9", "x" * 64])
def test_a_well_formed_request_id_is_kept(sent: str) -> None:
    answer = get(Watch(routed("/", name), metrics=Metrics()), **{REQUEST_ID: sent})
    assert answer.headers[REQUEST_ID] == answer.text == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "a/b", '"'])
def test_any_other_is_replaced(sent: str) -> None:
    answer = get(Watch(routed("/", name), metrics=Metrics()), **{REQUEST_ID: sent})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers[REQUEST_ID])
    assert answer.text == answer.headers[REQUEST_ID]


def test_a_line_tells_the_route_and_not_the_path() -> None:
    app = Watch(routed("/files/{key:path}", name), metrics=Metrics())
    with capture_logs() as lines:
        get(app, "/files/2026_a_secret_plan.webp?sig=abc")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["route"], line["status"]) == ("/files/{key:path}", 200)
    assert "secret" not in str(line)
    assert "abc" not in str(line)


def test_a_line_tells_the_record() -> None:
    app = Watch(routed("/api/records/{uuid}", name), metrics=Metrics())
    with capture_logs() as lines:
        get(app, "/api/records/77")
    assert lines[-1]["record"] == "77"


def test_a_health_check_is_no_news() -> None:
    with capture_logs() as lines:
        get(Watch(routed("/livez", name), metrics=Metrics()), "/livez")
    assert [line["log_level"] for line in lines] == ["debug"]


def test_what_breaks_is_counted_as_500() -> None:
    async def breaks(_: Request) -> Response:
        raise ValueError

    metrics = Metrics()
    get(Watch(routed("/", breaks), metrics=metrics))
    assert b'http_requests_total{method="GET",route="/",status="500"} 1.0' in metrics.page()


def test_a_route_says_its_own_headers_and_the_rest_is_safe() -> None:
    async def own(_: Request) -> Response:
        return PlainTextResponse("", headers={"Cache-Control": "public"})

    headers = get(Safe(routed("/", own))).headers
    assert headers["cache-control"] == "public"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")


def local(path: str = "/") -> Watch:
    """An application that needs no keys, with names and friends of its own."""
    hosts, origins = ("nas.lan", "pictures.example.org"), ("https://app.example.org",)
    return Watch(Local(routed(path, name), hosts=hosts, origins=origins), metrics=Metrics())


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8000", "LOCALHOST:1", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000",
     "[::1]", "nas.lan", "NAS.lan:81", "pictures.example.org"],
)  # fmt: skip
def test_without_keys_it_answers_to_its_own_names(host: str) -> None:
    assert get(local(), Host=host).status_code == 200
    assert get(local(), Host=host, Origin=f"http://{host}").status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example",
     "0.0.0.0", "192.168.1.2:8000", "2130706433", "[::]", "", "nas.lan.evil.example"],  # noqa: S104
)  # fmt: skip
def test_without_keys_a_name_that_was_given_this_address_is_refused(host: str) -> None:
    answer = get(local(), Host=host)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "LINOCUT_ALLOWED_HOSTS" in answer.json()["hint"]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example.org"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://app.example.org"}, 200),
        ({"Origin": "http://localhost:3000"}, 200),
    ],
)
def test_without_keys_pages_of_other_sites_send_nothing(said: dict[str, str], status: int) -> None:
    headers = {"Host": "127.0.0.1:8000"} | said
    (answer,) = ask(local(), ("POST", "/", {"headers": headers}))
    assert answer.status_code == status
    if status == 403:
        assert "LINOCUT_CORS_ORIGINS" in answer.json()["hint"]


def test_without_keys_a_link_may_be_followed_and_a_picture_shown_from_elsewhere() -> None:
    there = {"Host": "localhost", "Sec-Fetch-Site": "cross-site"}
    assert get(local(), **there, **{"Sec-Fetch-Dest": "document"}).status_code == 200
    assert get(local(), **there, **{"Sec-Fetch-Dest": "script"}).status_code == 403
    shown = get(local("/files/a.png"), "/files/a.png", **there, **{"Sec-Fetch-Dest": "image"})
    assert shown.status_code == 200


def test_a_crowd_is_told_to_come_back_but_may_ask_how_it_goes() -> None:
    inside = 0

    async def slow(_: Request) -> Response:
        nonlocal inside
        inside += 1
        await asyncio.sleep(0.3)
        return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", slow), Route("/livez", name)])
    crowd = Watch(Crowd(app, most=2), metrics=Metrics())
    answers = ask(crowd, *[("GET", "/", {})] * 4, ("GET", "/livez", {}))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 503, 503]
    assert answers[-1].status_code == 200
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["code"] == "unavailable"
    assert inside == 2
    assert get(crowd).status_code == 200


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not() -> None:
    app = Watch(Cap(routed("/", size), most=10), metrics=Metrics())
    assert ask(app, ("POST", "/", {"content": b"x" * 10}))[0].text == "10"
    (refused,) = ask(app, ("POST", "/", {"content": b"x" * 11}))
    assert refused.status_code == 413
    assert refused.json()["code"] == "payload_too_large"


def test_a_body_without_a_length_is_counted_as_it_comes() -> None:
    async def pieces() -> Any:
        for _ in range(4):
            yield b"xxxx"

    app = Watch(Cap(routed("/", size), most=10), metrics=Metrics())
    (refused,) = ask(app, ("POST", "/", {"content": pieces()}))
    assert refused.status_code == 413


def test_whatever_a_reader_makes_of_it_a_body_too_large_is_413() -> None:
    async def swallows(request: Request) -> Response:
        try:
            await request.body()
        except LinocutError:  # as a framework might
            return PlainTextResponse("fine", 400)
        return PlainTextResponse("whole")

    async def pieces() -> Any:
        yield b"x" * 20

    app = Watch(Cap(routed("/", swallows), most=10), metrics=Metrics())
    (refused,) = ask(app, ("POST", "/", {"content": pieces()}))
    assert refused.status_code == 413


@pytest.fixture(autouse=True)
def _unbound() -> None:
    structlog.contextvars.clear_contextvars()
