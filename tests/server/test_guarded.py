"""A server that no client can hold up: real sockets, a small application, little patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from linocut.server.guarded import Patience, guarded_protocol

PATIENCE = Patience(head_seconds=0.5, stall_seconds=0.5, head_bytes=8192)
LARGE = 8_000_000
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says how long the body was; /large answers with much, /early without reading."""
    size, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message.get("more_body", False)
    content = b"x" * LARGE if scope["path"] == "/large" else str(size).encode()
    length = str(len(content)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, int]]:
    """The application on a free port, in this loop."""
    config = uvicorn.Config(
        app,
        port=0,
        http=guarded_protocol(PATIENCE),  # type: ignore[arg-type]
        lifespan="off",
        log_config=None,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    one = uvicorn.Server(config)
    running = asyncio.create_task(one._serve())
    while not one.started:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.01)
    yield one.servers[0].sockets[0].getsockname()
    one.should_exit = True
    await running


def talk(*what: bytes | float, most: int = -1) -> bytes:
    """All that the server says until it closes; numbers are pauses, in seconds."""

    async def run() -> bytes:
        async with server() as address, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*address)
            for piece in what:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                else:
                    writer.write(piece)
                    await writer.drain()
            said = await reader.read(most)
            writer.close()
            return said

    return asyncio.run(run())


def parts(answer: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the problem of an answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


GET = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"


def test_an_ordinary_request_is_answered() -> None:
    said = talk(POST + b"content-length: 5\r\n\r\n", b"12", b"345")
    assert said.endswith(b"\r\n\r\n5")
    assert b"server:" not in said.lower()


def test_a_client_that_says_nothing_is_cut_off() -> None:
    status, _ = parts(talk())
    assert status == 408


def test_headers_that_do_not_end_are_cut_off() -> None:
    status, problem = parts(
        talk(b"GET / HTTP/1.1\r\nhost: x\r\n", 0.2, b"a: b\r\n", 0.2, b"c: d\r\n")
    )
    assert status == problem["status"] == 408


def test_a_body_that_does_not_come_is_cut_off() -> None:
    status, _ = parts(talk(POST + b"content-length: 1000\r\n\r\n", b"1", 0.3, b"2", 0.3, b"3"))
    assert status == 408


def test_a_body_that_comes_steadily_is_waited_for() -> None:
    piece = b"x" * 30_000  # in 0.2 seconds: nine times as fast as it has to be
    said = talk(POST + b"content-length: 180000\r\n\r\n", *[piece, 0.2] * 6)
    assert said.endswith(b"180000")


def test_a_client_that_does_not_read_is_cut_off() -> None:
    async def run() -> int:
        async with server() as address, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(2.5)
            came = 0
            try:
                while piece := await reader.read(65_536):
                    came += len(piece)
            except ConnectionResetError:
                pass
            writer.close()
            return came

    assert asyncio.run(run()) < LARGE


def test_headers_that_are_too_large_are_refused() -> None:
    status, problem = parts(talk(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 10_000 + b"\r\n\r\n"))
    assert status == problem["status"] == 431


def test_a_header_that_grows_for_ever_is_refused_while_it_does() -> None:
    pieces = [b"b" * 5000, 0.05] * 2
    status, _ = parts(talk(b"GET / HTTP/1.1\r\nhost: x\r\na: ", *pieces))
    assert status == 431


def test_what_is_no_http_is_a_problem_too() -> None:
    status, problem = parts(talk(b"\x16\x03\x01 hello\r\n\r\n"))
    assert status == problem["status"] == 400
    assert problem["code"] == "invalid_body"


def test_two_lengths_for_one_body_are_refused() -> None:
    smuggled = b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x"
    status, _ = parts(talk(POST + smuggled))
    assert status == 400


def test_a_connection_is_used_again() -> None:
    again = GET.replace(b"connection: close\r\n", b"")
    said = talk(again, 0.1, again, 0.1, GET)
    assert said.count(b"HTTP/1.1 200") == 3


def test_requests_in_one_piece_are_answered_in_turn() -> None:
    again = GET.replace(b"connection: close\r\n", b"")
    assert talk(again + again + GET).count(b"HTTP/1.1 200") == 3


def test_an_idle_connection_is_closed_even_if_it_twitches() -> None:
    again = GET.replace(b"connection: close\r\n", b"")
    assert talk(again, 0.1, b"\r\n").count(b"HTTP/1.1 200") == 1


def test_an_early_answer_does_not_buy_time_for_the_body() -> None:
    early = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000\r\n\r\n"
    assert talk(early, b"x" * 1000, 0.2, b"x" * 1000).count(b"HTTP/1.1 200") == 1


def test_an_early_answer_and_a_body_that_ends_leave_the_connection_usable() -> None:
    early = b"POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n"
    said = talk(early, b"x" * 1000, 0.2, b"x" * 1000, 0.1, GET)
    assert said.count(b"HTTP/1.1 200") == 2
