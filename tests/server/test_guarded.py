"""A server that no client can hold up: real sockets, a small application, little patience."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from structlog.testing import capture_logs

from linocut.server.guarded import Patience, guarded_protocol
from linocut.server.schemas import Problem

PATIENCE = Patience(head_seconds=0.5, stall_seconds=0.5, head_bytes=8192)
LARGE = 8_000_000
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The body's length; /large answers with much, /early without reading, /quiet after a pause."""
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
    if scope["path"] == "/quiet":
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.sleep(3 * PATIENCE.stall_seconds)
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
    """The status and the problem of an answer that is as whole as those of the application."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().splitlines()
    assert "content-type: application/problem+json" in lines
    assert "cache-control: no-store" in lines
    problem = Problem.model_validate_json(body)
    assert problem.status == int(lines[0].split()[1])
    assert problem.hint or problem.detail == "this is no HTTP/1.1 request that can be read"
    assert f"x-request-id: {problem.request_id}" in lines
    return problem.status, json.loads(body)


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


def taken(piece: int, pause: float) -> tuple[int, float]:
    """The bytes of a large answer that a client had who took so many so often; and the seconds."""

    async def run() -> tuple[int, float]:
        async with server() as address, asyncio.timeout(20):
            loop, line, came = asyncio.get_running_loop(), socket.socket(), 0
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            line.setblocking(False)
            await loop.sock_connect(line, address)
            await loop.sock_sendall(line, GET.replace(b"/", b"/large", 1))
            begun = time.monotonic()
            with line:
                while not is_reset(line) and (some := await loop.sock_recv(line, piece)):
                    came += len(some)
                    await asyncio.sleep(pause)
            return came, time.monotonic() - begun

    return asyncio.run(run())


def is_reset(line: socket.socket) -> bool:
    """Whether the other side has dropped the connection, with all that is still to be read."""
    poll = select.poll()
    poll.register(line, 0)
    return any(what & select.POLLERR for _, what in poll.poll(0))


def test_a_client_that_does_not_read_is_cut_off() -> None:
    came, _ = taken(1, 2.0)
    assert came == 1


def test_a_client_that_takes_next_to_nothing_is_cut_off() -> None:
    came, seconds = taken(1, 0.01)
    assert came < 300
    assert seconds < 3


def test_a_client_that_takes_an_answer_slowly_gets_it_whole() -> None:
    came, seconds = taken(40_000, 0.025)
    assert came > LARGE
    assert seconds > 4


def test_an_answer_that_pauses_is_no_fault_of_the_client() -> None:
    assert talk(GET.replace(b"/", b"/quiet", 1)).endswith(b"\r\n\r\n0")


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


def test_the_application_begins_when_a_small_body_is_whole() -> None:
    head = b"POST /early HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"

    async def run() -> None:
        async with server() as address, asyncio.timeout(20):
            for sized, pieces in (
                (b"content-length: 6\r\n\r\n", (b"abc", b"def")),
                (b"transfer-encoding: chunked\r\n\r\n", (b"3\r\nabc\r\n", b"0\r\n\r\n")),
            ):
                reader, writer = await asyncio.open_connection(*address)
                answer = asyncio.create_task(reader.read())
                for piece in (head + sized, *pieces):
                    assert not answer.done()
                    writer.write(piece)
                    await asyncio.sleep(0.1)
                assert b"HTTP/1.1 200" in await answer
                writer.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"content-length: 20000\r\n\r\n", b""),
        (b"transfer-encoding: chunked\r\n\r\n", b"5000\r\n" + b"x" * 0x5000 + b"\r\n"),
    ],
)
def test_the_application_begins_while_a_large_body_comes(head: bytes, body: bytes) -> None:
    early = b"POST /early HTTP/1.1\r\nhost: x\r\n" + head + body
    assert talk(early, most=15) == b"HTTP/1.1 200 OK"


def test_a_client_that_waits_to_be_asked_for_its_body_is_asked() -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n"
    assert talk(head, most=21) == b"HTTP/1.1 100 Continue"


@pytest.mark.parametrize(
    "hosts",
    ["", "host: x\r\nhost: x\r\n", "host: x y\r\n", "host: [::1\r\n", "host: http://x\r\n"],
)
def test_a_request_for_no_host_or_several_is_refused(hosts: str) -> None:
    status, problem = parts(talk(f"GET / HTTP/1.1\r\n{hosts}\r\n".encode()))
    assert (status, problem["code"]) == (400, "invalid_request")
    assert problem["errors"][0]["pointer"] == "header:Host"


@pytest.mark.parametrize(
    "host", ["", "x", "a.b-c_d:80", "127.0.0.1:8080", "[::1]:8080", "x:", "x \t"]
)
def test_a_host_by_any_right_name_may_be_asked(host: str) -> None:
    said = talk(f"GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 200")


def test_what_is_older_than_hosts_need_not_name_one() -> None:
    assert talk(b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_refusal_carries_the_name_that_the_caller_gave() -> None:
    named = b"x-request-id: mine-7\r\n"
    _, problem = parts(talk(POST + named + b"content-length: 1000\r\n\r\n", b"1"))
    assert problem["request_id"] == "mine-7"


def test_a_refusal_does_not_carry_the_name_of_the_request_before() -> None:
    said = talk(b"GET / HTTP/1.1\r\nhost: x\r\nx-request-id: mine-7\r\n\r\n", 0.1, b"what?\r\n\r\n")
    refused = said[said.index(b"HTTP/1.1 400") :]
    assert parts(refused)[1]["request_id"] != "mine-7"


def test_refusals_have_names_of_their_own_and_are_in_the_log() -> None:
    with capture_logs() as lines:
        names = [parts(talk(b"what?\r\n\r\n"))[1]["request_id"] for _ in range(2)]
    told = [line for line in lines if line["event"] == "refused"]
    assert [line["request_id"] for line in told] == names
    assert len({*names, ""}) == 3
    assert told[0]["status"] == 400
