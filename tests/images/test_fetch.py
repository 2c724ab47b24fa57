"""`fetch_picture`: what anybody may see, in bounded time and size.

Servers are real and on loopback. What must never be reached is in `test_fetch_inside`.
"""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from linocut.errors import InvalidPicture, RateLimited
from linocut.images.fetch import (
    AddressRefused,
    AnswerTooLong,
    FetchPolicy,
    fetch_picture,
    guarded_client,
    parse_data_uri,
)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
PUBLIC = "93.184.216.34"


def test_a_picture_is_fetched_with_nothing_of_ours_but_the_question(
    loopback: SimpleNamespace,
) -> None:
    async def play() -> tuple[bytes, Any]:
        async with loopback.serving(loopback.answer(b"cat")) as server:
            url = f"http://127.0.0.1:{server.port}/a%20cat.png?size=1#top"
            return await fetch_picture(url, loopback.allowing(server)), server

    data, server = asyncio.run(play())
    assert data == b"cat"
    line, *headers = server.heads[0].decode().rstrip().split("\r\n")
    assert line == "GET /a%20cat.png?size=1 HTTP/1.1"
    sent = {name.lower(): value for name, value in (h.split(": ") for h in headers)}
    assert sent.pop("host") == f"127.0.0.1:{server.port}"
    assert sent.pop("connection") in {"close", "keep-alive"}
    assert sent == {
        "accept": "image/png, image/jpeg, image/webp",
        "accept-encoding": "identity",
        "user-agent": "linocut",
    }


def test_the_next_address_of_a_name_is_tried(loopback: SimpleNamespace) -> None:
    async def play() -> bytes:
        async with loopback.serving(loopback.answer(b"cat")) as server:
            policy = loopback.allowing(server, host="two.test")
            table = {"two": ["127.0.0.3", "127.0.0.1"]}  # nobody listens on the first
            url = f"http://two.test:{server.port}/"
            return await fetch_picture(url, policy, resolve=loopback.names(**table))

    assert asyncio.run(play()) == b"cat"


def test_tls_speaks_of_the_name_not_of_the_address(loopback: SimpleNamespace) -> None:
    hello: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        hello.append(await reader.read(4096))

    async def play() -> None:
        async with loopback.serving(listen) as server:
            policy = loopback.allowing(server, host="secure.test")
            url = f"https://secure.test:{server.port}/"
            await fetch_picture(url, policy, resolve=loopback.names(secure=["127.0.0.1"]))

    with pytest.raises(InvalidPicture, match="cannot be reached, or broke off"):
        asyncio.run(play())
    assert b"secure.test" in hello[0]


def test_the_settings_of_a_proxy_are_not_followed(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> tuple[bytes, int]:
        async with (
            loopback.serving(loopback.answer(b"cat")) as server,
            loopback.serving(loopback.answer(b"proxied")) as proxy,
        ):
            for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            data = await fetch_picture(
                f"http://127.0.0.1:{server.port}/", loopback.allowing(server)
            )
            return data, proxy.hits

    assert asyncio.run(play()) == (b"cat", 0)


def test_each_piece_is_told_and_may_be_the_last(loopback: SimpleNamespace) -> None:
    held: list[int] = []

    def hold(size: int) -> None:
        held.append(size)
        if sum(held) > 100_000:
            raise RateLimited("enough", retry_after=1.0)

    async def play(size: int) -> bytes:
        async with loopback.serving(loopback.answer(b"x" * size)) as server:
            url = f"http://127.0.0.1:{server.port}/"
            return await fetch_picture(url, loopback.allowing(server), hold=hold)

    assert len(asyncio.run(play(90_000))) == sum(held) == 90_000
    held.clear()
    with pytest.raises(RateLimited, match="enough"):
        asyncio.run(play(1_000_000))
    assert sum(held) < 400_000


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever."""
    writer.write(OK + b"\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1 << 16)
    await reader.read(1 << 16)


async def hints(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", [drip, silence, hints])
def test_a_slow_server_is_left(loopback: SimpleNamespace, talk: Talk) -> None:
    async def play() -> bytes:
        async with loopback.serving(talk) as server:
            policy = loopback.allowing(server, seconds=0.4)
            return await fetch_picture(f"http://127.0.0.1:{server.port}/", policy)

    with pytest.raises(InvalidPicture, match=r"longer than 0\.4 s"):
        asyncio.run(play())


def test_a_slow_name_server_is_left() -> None:
    async def slow(_: str, __: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(InvalidPicture, match=r"longer than 0\.2 s"):
        asyncio.run(fetch_picture("http://slow.test/", FetchPolicy(seconds=0.2), resolve=slow))


def test_an_answer_without_end_is_cut_off(loopback: SimpleNamespace) -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(OK + b"\r\n")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async def play() -> bytes:
        async with loopback.serving(flood) as server:
            policy = loopback.allowing(server, max_bytes=1 << 20)
            return await fetch_picture(f"http://127.0.0.1:{server.port}/", policy)

    with pytest.raises(InvalidPicture, match=r"over 1\.05 MB"):
        asyncio.run(play())
    assert sent < 64 << 20


@pytest.mark.parametrize(("length", "whole"), [(1000, True), (1001, False)])
def test_the_last_byte_counts(loopback: SimpleNamespace, length: int, *, whole: bool) -> None:
    async def play() -> bytes:
        async with loopback.serving(loopback.answer(b"x" * length)) as server:
            policy = loopback.allowing(server, max_bytes=1000)
            return await fetch_picture(f"http://127.0.0.1:{server.port}/", policy)

    if whole:
        assert asyncio.run(play()) == b"x" * length
    else:
        with pytest.raises(InvalidPicture, match="over 1,000 bytes"):
            asyncio.run(play())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\0", "compressed"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answered 404"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204"),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"", "broke off"),
        (b"\x16\x03\x01 what is this", "broke off"),
        (OK + b"Content-Length: 100\r\n\r\nshort", "broke off"),
        (OK + b"Content-Length: -1\r\n\r\n", "broke off"),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "broke off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "broke off"),
        (OK + b"X: " + b"y" * 300_000 + b"\r\n\r\n", "broke off"),
        (OK + b"\xff\xfe\r\n\r\n", "broke off"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://\x80\x81/\r\n\r\n", "fetched"),
    ],
)
def test_a_bad_answer_is_said_in_words(
    loopback: SimpleNamespace, answer: bytes, reason: str
) -> None:
    async def play() -> bytes:
        async with loopback.serving(answer) as server:
            return await fetch_picture(
                f"http://127.0.0.1:{server.port}/", loopback.allowing(server)
            )

    with pytest.raises(InvalidPicture, match=reason) as caught:
        asyncio.run(play())
    assert "127.0.0.1" not in caught.value.message


def test_nobody_listens_is_said_in_words(loopback: SimpleNamespace) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    policy = FetchPolicy(allowed_hosts=frozenset({f"127.0.0.1:{port}"}))
    error = loopback.refusal(f"http://127.0.0.1:{port}/", policy)
    assert error is not None
    assert "cannot be reached" in error.message


def test_a_webhook_is_posted_and_not_redirected(loopback: SimpleNamespace) -> None:
    async def play() -> tuple[int, Any, int]:
        async with loopback.serving(loopback.answer(b"secret")) as canary:
            to = loopback.redirect(f"http://127.0.0.1:{canary.port}/", b"Set-Cookie: a=b")
            async with loopback.serving(to) as server:
                both = replace(loopback.allowing(server, canary), seconds=20.0)
                async with guarded_client(both) as client:
                    url = f"http://127.0.0.1:{server.port}/hook"
                    headers = {"webhook-id": "msg_1", "Content-Type": "application/json"}
                    answer = await client.post(url, content=b'{"a": 1}', headers=headers)
                    assert not client.cookies
                return answer.status_code, server, canary.hits

    status, server, canary_hits = asyncio.run(play())
    assert (status, canary_hits) == (302, 0)
    assert server.heads[0].startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"webhook-id: msg_1" in server.heads[0]


def test_a_webhook_reaches_nothing_inside(loopback: SimpleNamespace) -> None:
    async def play() -> int:
        async with loopback.serving(loopback.answer(b"secret")) as canary:
            policy = FetchPolicy(ports=frozenset({canary.port}))
            async with guarded_client(policy) as client:
                with pytest.raises(httpx2.HTTPError) as caught:
                    await client.post(f"http://127.0.0.1:{canary.port}/", content=b"{}")
            assert isinstance(caught.value, AddressRefused)
            return canary.hits

    assert asyncio.run(play()) == 0


@pytest.mark.parametrize(
    ("talk", "error"), [(drip, httpx2.ReadTimeout), (silence, httpx2.TimeoutException)]
)
def test_a_webhook_does_not_wait_for_ever(
    loopback: SimpleNamespace, talk: Talk, error: type[Exception]
) -> None:
    async def play() -> None:
        async with (
            loopback.serving(talk) as server,
            guarded_client(loopback.allowing(server, seconds=0.4)) as client,
        ):
            await client.post(f"http://127.0.0.1:{server.port}/", content=b"{}")

    with pytest.raises(error):
        asyncio.run(play())


def test_a_webhooks_answer_is_read_up_to_its_bound(loopback: SimpleNamespace) -> None:
    async def play() -> None:
        answer = loopback.answer(b"x" * 5000)
        async with (
            loopback.serving(answer) as server,
            guarded_client(loopback.allowing(server, max_bytes=1000)) as c,
        ):
            await c.post(f"http://127.0.0.1:{server.port}/", content=b"{}")

    with pytest.raises(AnswerTooLong):
        asyncio.run(play())


@pytest.mark.parametrize("kind", ["png", "jpeg", "jpg", "webp", "PNG"])
def test_a_data_uri_is_unpacked(kind: str) -> None:
    data = bytes(range(256))
    text = base64.b64encode(data).decode()
    for body in (text, text.rstrip("="), text.replace("+", "%2B").replace("/", "%2F")):
        assert parse_data_uri(f"data:image/{kind};base64,{body}") == data


@pytest.mark.parametrize(
    "text",
    ["", "data:", "data:,", "data:image/png,AAAA", "data:image/gif;base64,AAAA",
     "data:image/svg+xml;base64,AAAA", "data:text/html;base64,AAAA", "http://a.example/a.png",
     "data:image/png;base64,A", "data:image/png;base64,AA A", "data:image/png;base64,AA*=",
     "data:image/png;base64,\u0660\u0661", "data:image/png;base64,\ud800",
     " data:image/png;base64,AA",
     "data:image/png;base64,AA==AA", "data:image/png;base64,A%", "data:image/png;base64,AA-_"],
)  # fmt: skip
def test_what_is_no_data_uri_is_said_in_words(text: str) -> None:
    with pytest.raises(InvalidPicture, match="the data URI") as caught:
        parse_data_uri(text)
    assert caught.value.hint


@pytest.mark.timeout(60)  # unescaping each sign by itself takes minutes
def test_a_data_uri_in_which_every_sign_is_escaped_is_refused_at_once() -> None:
    with pytest.raises(InvalidPicture, match="no valid base64"):
        parse_data_uri("data:image/png;base64," + "%41" * 25_000_000, 100_000_000)


@pytest.mark.parametrize(("length", "whole"), [(999, True), (1000, True), (1001, False)])
def test_a_data_uri_has_a_bound(length: int, *, whole: bool) -> None:
    text = "data:image/png;base64," + base64.b64encode(b"x" * length).decode()
    if whole:
        assert len(parse_data_uri(text, 1000)) == length
    else:
        with pytest.raises(InvalidPicture, match="over 1,000 bytes"):
            parse_data_uri(text, 1000)
    with pytest.raises(InvalidPicture, match="over 1,000 bytes"):
        parse_data_uri(text + "A" * 20_000, 1000)


def test_a_limit_is_told_in_the_megabytes_in_which_it_was_set() -> None:
    with pytest.raises(InvalidPicture, match="the data URI is over 20 MB"):
        parse_data_uri("data:image/png;base64," + "A" * 80_000_100, 20_000_000)
