"""A small picture, metadata to go with it, and servers on loopback for what fetches pictures."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from linocut.errors import InvalidPicture
from linocut.images.fetch import FetchPolicy, fetch_picture
from linocut.images.metadata import Metadata
from linocut.request import Picture

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="session")
def picture() -> Picture:
    """48 x 32: a gradient with a red square in it."""
    pixels = bytearray()
    for y in range(32):
        for x in range(48):
            inside = 16 <= x < 32 and 8 <= y < 24
            pixels += bytes((220, 20, 30)) if inside else bytes((x * 5, y * 7, 128))
    return Picture(48, 32, bytes(pixels))


@pytest.fixture(scope="session")
def metadata() -> Metadata:
    """What a plain request leaves behind."""
    return Metadata(
        prompt="a red apple",
        seed=4711,
        width=48,
        height=32,
        drawn_width=48,
        drawn_height=32,
        num_inference_steps=28,
        guidance=3.5,
        prompt_strength=1.0,
        references=0,
        checkpoint="linocut-mini",
        mode="exact",
        demo=True,
        threads=2,
        software="linocut 0.1.0",
    )


@dataclass
class Server:
    """A server on loopback: what it was asked, and how often."""

    port: int = 0
    hits: int = 0
    heads: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def serving(*answers: bytes | Talk, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[
    Server
]:  # fmt: skip
    """Gives the answers in turn (the last one for ever); one that is a function talks itself."""
    server = Server()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = answers[min(server.hits, len(answers) - 1)]
        server.hits += 1
        try:
            if callable(answer):
                await answer(reader, writer)
            else:
                server.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(answer.replace(b"{port}", str(server.port).encode()))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has heard enough
        finally:
            writer.close()

    listening = await asyncio.start_server(talk, host, port)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


def answer(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return OK + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def redirect(to: str, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 302 Found\r\nLocation: %s\r\n%sContent-Length: 0\r\n\r\n" % (
        to.encode(),
        lines,
    )


def names(**table: Sequence[str]) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """A resolver of these names under .test; numbers mean what the system takes them for."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        if host.removesuffix(".") == "localhost":
            return ["127.0.0.1", "::1"]
        if host.endswith(".test"):
            return table.get(host.removesuffix(".test"), ())
        found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]) for entry in found]

    return resolve


def allowing(*servers: Server, host: str = "127.0.0.1", **settings: float) -> FetchPolicy:
    hosts = frozenset(f"{host}:{server.port}" for server in servers)
    return replace(FetchPolicy(seconds=20.0, allowed_hosts=hosts), **settings)


def refusal(url: str, policy: FetchPolicy, **table: Sequence[str]) -> InvalidPicture | None:
    """Why it is not fetched; None if it is."""
    try:
        asyncio.run(fetch_picture(url, policy, resolve=names(**table)))
    except InvalidPicture as error:
        return error
    return None


@pytest.fixture(scope="session")
def loopback() -> SimpleNamespace:
    """The functions above, for tests: `async with loopback.serving(loopback.answer(b"cat"))`."""
    makers = (serving, answer, redirect, names, allowing, refusal)
    return SimpleNamespace(**{maker.__name__: maker for maker in makers})
