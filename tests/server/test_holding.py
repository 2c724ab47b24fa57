"""What callers sent is held within bounds, in all and for each of them, however slowly it comes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import RateLimited, Unavailable
from linocut.server.holding import Holding

MOST = 2_000_000
BODY = 900_000


def test_one_owner_has_half_and_the_rest_is_for_others() -> None:
    holding = Holding(100)
    with holding.room("a") as first, holding.room("a") as second, holding.room("b") as other:
        first.take(30)
        second.take(20)
        with pytest.raises(RateLimited, match="51 bytes at once; one tenant may have 50"):
            second.take(1)
        other.take(50)
        with holding.room("c") as late, pytest.raises(Unavailable, match="as its memory is for"):
            late.take(1)
    with holding.room("c") as late:
        late.take(50)


def test_what_is_refused_is_not_held() -> None:
    holding = Holding(100)
    with holding.room("a") as room:
        with pytest.raises(RateLimited):
            room.take(51)
        room.take(50)
        assert room.size == 50


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 70)), max_size=30))
def test_never_more_than_the_bounds_and_nothing_stays(taken: list[tuple[str, int]]) -> None:
    holding, owned = Holding(200), dict.fromkeys("abc", 0)
    with ExitStack() as rooms:
        for owner, size in taken:
            room = rooms.enter_context(holding.room(owner))
            fits = owned[owner] + size <= 100 and sum(owned.values()) + size <= 200
            try:
                room.take(size)
            except (RateLimited, Unavailable):
                assert not fits
            else:
                assert fits
                owned[owner] += size
    assert holding == Holding(200)


LAST = json.dumps({
    "type": "IMAGE_GENERATOR", "model": "black-forest-labs/flux-2-dev",
    "promptObject": {"prompt": "an apple"}, "async": True,
}).encode()  # fmt: skip


@contextmanager
def begun(server: Any, key: str) -> Iterator[socket.socket]:
    """A line with a request on it that has all but its LAST bytes."""
    head = (
        "POST /api/features HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        f"API-KEY: {key}\r\nContent-Length: {BODY}\r\n\r\n"
    )
    with socket.create_connection(server.address, timeout=60) as line:
        line.sendall(head.encode() + b" " * (BODY - len(LAST)))
        yield line


def status(line: socket.socket, more: bytes = b"") -> int:
    """What is answered, after so many bytes more."""
    line.sendall(more)
    with line.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def held(server: Any) -> float:
    """Bytes that the server says it holds."""
    lines = server.client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("held_bytes "))


def bounded(running_server: Any) -> Any:
    """A server that holds two of these bodies, and a little; one of each key."""
    return running_server(
        LINOCUT_MAX_BODY=str(BODY), LINOCUT_MAX_HELD=str(MOST), LINOCUT_STALL_SECONDS="60"
    )


def test_bodies_that_do_not_end_are_refused_before_they_fill_the_memory(
    running_server: Any,
) -> None:
    server = bounded(running_server)
    keys = [server.add_key() for _ in range(3)]
    with begun(server, keys[0]) as first, begun(server, keys[1]) as second:
        server.wait_until(lambda: held(server) == 2 * (BODY - len(LAST)))
        with begun(server, keys[0]) as more_of_it:
            assert status(more_of_it) == 429
        with begun(server, keys[2]) as one_too_many:
            assert status(one_too_many) == 503
        assert [status(first, LAST), status(second, LAST)] == [200, 200]
    assert held(server) == 0
    with begun(server, keys[2]) as again:
        assert status(again, LAST) == 200


def test_who_goes_away_leaves_room(running_server: Any) -> None:
    server = bounded(running_server)
    with begun(server, server.key):
        server.wait_until(lambda: held(server) == BODY - len(LAST))
    server.wait_until(lambda: held(server) == 0)
