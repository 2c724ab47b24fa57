"""`fetch_picture` reaches no place inside, however its address is written or reached.

Servers are real and on loopback. "inside.test" and the like are names of an invented resolver; what
must not be reached is a canary that counts its connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from linocut.errors import InvalidPicture
from linocut.images.fetch import (
    MAX_REDIRECTS,
    AddressRefused,
    FetchPolicy,
    check_address,
    fetch_picture,
)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"
PUBLIC = "93.184.216.34"


IN_DISGUISE = [
    "http://2130706433:{p}/", "http://0x7f000001:{p}/", "http://0x7f.1:{p}/", "http://127.1:{p}/",
    "http://0177.0.0.1:{p}/", "http://017700000001:{p}/", "http://0:{p}/", "http://0.0.0.0:{p}/",
    "http://127.0.0.1.:{p}/", "http://127.000.000.001:{p}/", "http://1.2130706432:{p}/",
    "http://127.0.0.1%2e:{p}/", "http://127%2e0%2e0%2e1:{p}/", "http://①②⑦.⓪.⓪.①:{p}/",
    "http://127。0。0。1:{p}/", "http://%31%32%37.0.0.1:{p}/", "http://[::1]:{p}/", "http://[::]:{p}/",
    "http://[::ffff:127.0.0.1]:{p}/", "http://[::ffff:7f00:1]:{p}/", "http://[::127.0.0.1]:{p}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{p}/", "http://[64:ff9b::7f00:1]:{p}/",
    "http://[64:ff9b:1::7f00:1]:{p}/", "http://[2002:7f00:1::]:{p}/", "http://[fe80::1%25lo]:{p}/",
    "http://[2001:0:7f00:1::80ff:fffe]:{p}/", "http://[fd00:ec2::254]:{p}/", "http://[ff02::1]:{p}/",
    "http://[::1%25lo]:{p}/", "http://[v1.127.0.0.1]:{p}/",
]  # fmt: skip
INSIDE = [
    "http://127.0.0.1:{p}/", "http://127.255.255.254:{p}/", "http://localhost:{p}/",
    "http://LOCALHOST:{p}/", "http://localhost.:{p}/", "http://10.0.0.1:{p}/",
    "http://172.16.0.1:{p}/", "http://192.168.1.1:{p}/", "http://169.254.169.254:{p}/latest/meta-data",
    "http://100.100.100.200:{p}/", "http://168.63.129.16:{p}/", "http://198.18.0.1:{p}/",
    "http://224.0.0.1:{p}/", "http://255.255.255.255:{p}/", "http://192.0.0.192:{p}/",
    "http://inside.test:{p}/", "http://INSIDE.test:{p}/", "http://mixed.test:{p}/",
    "http://mapped.test:{p}/", "http://nat64.test:{p}/", "http://sixtofour.test:{p}/",
    "http://link.test:{p}/", "http://nobody.test:{p}/", "https://inside.test:{p}/",
]  # fmt: skip
ODD = [
    "http://user@127.0.0.1:{p}/", "http://user:pass@outside.test:{p}/", "http://@outside.test:{p}/x@",
    "http://outside.test@127.0.0.1:{p}/", "http://outside.test\\@127.0.0.1:{p}/",
    "http://outside.test#@127.0.0.1:{p}/", "http://outside.test:{p}@127.0.0.1:{p}/",
    "http://127.0.0.1:{p}\\@outside.test/", "http:/\\127.0.0.1:{p}/", "http:127.0.0.1:{p}/",
    "//127.0.0.1:{p}/", "127.0.0.1:{p}/", "file:///etc/passwd", "file://127.0.0.1:{p}/etc/passwd",
    "ftp://127.0.0.1:{p}/", "gopher://127.0.0.1:{p}/_x", "dict://127.0.0.1:{p}/", "ws://127.0.0.1:{p}/",
    "unix:/run/docker.sock", "data:image/png;base64,AA==", "javascript:alert(1)", "", " ", "http://",
    "http:///", "http://:{p}/", "http://127.0.0.1:99999/", "http://127.0.0.1:-1/", "http://[/",
    "http://127.0.0.1 :{p}/", "http://127.0.0.1\t:{p}/", "http://127.0.0.1\r\nHost:x:{p}/",
    "http://127.0.0.1\0:{p}/", "http://\ud800:{p}/", "http://a..b:{p}/",
    "http://" + "a" * 64 + ".test:{p}/",
    "http://" + "a." * 127 + "test:{p}/", "http://inside.test:{p}/" + "x" * 9000, "http://-:{p}/",
    "http://127.0.0.1:{p}/\ud800", "http://xn--:{p}/", "http://inside_test:{p}/", "http://*:{p}/",
]  # fmt: skip
TABLE = {
    "inside": ["127.0.0.1"], "mixed": [PUBLIC, "127.0.0.1"], "mapped": ["::ffff:127.0.0.1"],
    "nat64": ["64:ff9b::7f00:1"], "sixtofour": ["2002:7f00:1::1"], "link": ["fe80::1%lo"],
    "outside": ["127.0.0.1"],
}  # fmt: skip


def test_no_form_of_an_address_inside_is_reached(loopback: SimpleNamespace) -> None:
    forms = [*IN_DISGUISE, *INSIDE, *ODD]
    assert len(forms) >= 90

    async def play() -> tuple[dict[str, object], int]:
        answers: dict[str, object] = {}
        async with loopback.serving(loopback.answer(b"secret")) as canary:
            ports = frozenset({80, 443, canary.port})  # the address alone stands in the way
            policy = FetchPolicy(ports=ports, seconds=20.0)
            for form in forms:
                url = form.replace("{p}", str(canary.port))
                try:
                    answers[form] = await fetch_picture(
                        url, policy, resolve=loopback.names(**TABLE)
                    )
                except InvalidPicture:
                    continue
            # The canary can be hit: the same address is reached when it is allowed.
            assert canary.hits == 0
            await fetch_picture(f"http://127.0.0.1:{canary.port}/", loopback.allowing(canary))
            return answers, canary.hits

    answers, hits = asyncio.run(play())
    assert answers == {}
    assert hits == 1


def test_a_name_inside_and_a_name_of_nobody_look_the_same(loopback: SimpleNamespace) -> None:
    inside = loopback.refusal("http://inside.test/", FetchPolicy(), inside=["10.0.0.1"])
    nobody = loopback.refusal("http://nobody.test/", FetchPolicy())
    assert inside is not None
    assert nobody is not None
    assert inside.message == nobody.message
    assert "no public address" in nobody.message


@pytest.mark.parametrize("port", [22, 25, 6379, 8080, 1, 65535])
def test_an_odd_port_is_refused(loopback: SimpleNamespace, port: int) -> None:
    error = loopback.refusal(f"http://outside.test:{port}/", FetchPolicy(), outside=[PUBLIC])
    assert error is not None
    assert f"port {port}" in error.message


def test_fetching_can_be_switched_off(loopback: SimpleNamespace) -> None:
    error = loopback.refusal("http://outside.test/", FetchPolicy(enabled=False), outside=[PUBLIC])
    assert error is not None
    assert "not fetched from addresses here" in error.message
    assert "data URI" in error.hint


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{canary}/", "//127.0.0.1:{canary}/", "http://inside.test:{canary}/",
        "http://2130706433:{canary}/", "http://[::1]:{canary}/", "http://user@127.0.0.1:{port}/",
        "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "ftp://127.0.0.1:{canary}/",
        "http://[", "http://127.0.0.1:99999/", "https://127.0.0.1:{canary}/",
    ],
)  # fmt: skip
def test_a_redirect_leads_nowhere_inside(loopback: SimpleNamespace, target: str) -> None:
    async def play() -> tuple[int, int]:
        async with loopback.serving(loopback.answer(b"secret")) as canary:
            to = target.replace("{canary}", str(canary.port))
            async with loopback.serving(loopback.redirect(to)) as server:
                ports = frozenset({80, 443, canary.port})
                policy = replace(loopback.allowing(server), ports=ports)
                url = f"http://127.0.0.1:{server.port}/"
                with pytest.raises(InvalidPicture):
                    await fetch_picture(url, policy, resolve=loopback.names(**TABLE))
                return server.hits, canary.hits

    assert asyncio.run(play()) == (1, 0)


def test_three_redirects_are_followed_and_no_more(loopback: SimpleNamespace) -> None:
    async def play(count: int) -> bytes:
        hops = [loopback.redirect(f"/{i}") for i in range(count)]
        async with loopback.serving(*hops, loopback.answer(b"cat")) as server:
            return await fetch_picture(
                f"http://127.0.0.1:{server.port}/", loopback.allowing(server)
            )

    assert asyncio.run(play(MAX_REDIRECTS)) == b"cat"
    with pytest.raises(InvalidPicture, match="redirected more than 3 times"):
        asyncio.run(play(MAX_REDIRECTS + 1))


def test_a_redirect_carries_no_cookie(loopback: SimpleNamespace) -> None:
    async def play() -> Any:
        first = loopback.redirect("/again", b"Set-Cookie: who=you; Path=/")
        async with loopback.serving(first, loopback.answer(b"cat")) as server:
            await fetch_picture(f"http://127.0.0.1:{server.port}/", loopback.allowing(server))
            return server

    server = asyncio.run(play())
    assert len(server.heads) == 2
    assert b"cookie" not in server.heads[1].lower()


def test_a_name_that_changes_is_looked_up_once(loopback: SimpleNamespace) -> None:
    """The address that was checked is the address that is connected to."""
    asked: list[str] = []

    async def rebinding(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async def play() -> tuple[bytes, Any, Any]:
        async with (
            loopback.serving(loopback.answer(b"cat")) as server,
            loopback.serving(
                loopback.answer(b"secret"), host="127.0.0.2", port=server.port
            ) as canary,
        ):
            policy = loopback.allowing(server, host="rebinding.test")
            url = f"http://rebinding.test:{server.port}/"
            return await fetch_picture(url, policy, resolve=rebinding), server, canary

    data, server, canary = asyncio.run(play())
    assert (data, canary.hits, asked) == (b"cat", 0, ["rebinding.test"])
    assert f"Host: rebinding.test:{server.port}\r\n".lower().encode() in server.heads[0].lower()


@pytest.mark.parametrize("entry", ["example.com", "http://a:80", "A.example:80", "a:b", ":80", ""])
def test_an_allowed_host_is_written_with_its_port(entry: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        FetchPolicy(allowed_hosts=frozenset({entry}))


def test_an_allowed_host_of_six_is_written_in_brackets(loopback: SimpleNamespace) -> None:
    policy = FetchPolicy(allowed_hosts=frozenset({"[::1]:9"}))
    error = loopback.refusal("http://[::1]:9/", policy)
    assert error is not None
    assert "cannot be reached" in error.message  # so it was tried


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://pictures.test/a", "only http and https"),
        ("https://user:word@pictures.test/a", "user name or password"),
        ("https://pictures.test:8080/a", "port 8080"),
        ("https://10.0.0.1/a", "no public address"),
        ("http://[::1]/a", "no public address"),
        ("http://2130706433/a", "no public address"),
        ("http://[::1/a", "no valid URL"),
    ],
)
def test_what_is_wrong_with_an_address_can_be_said_before_it_is_looked_up(
    address: str, reason: str
) -> None:
    with pytest.raises(AddressRefused, match=reason):
        check_address(address, FetchPolicy())


@pytest.mark.parametrize(
    "address", ["https://pictures.test/a?b=c", "http://93.184.216.34/a", "http://nas.lan:8080/a"]
)
def test_an_address_that_may_be_public_is_left_to_the_lookup(address: str) -> None:
    check_address(address, FetchPolicy(enabled=False, allowed_hosts=frozenset({"nas.lan:8080"})))
