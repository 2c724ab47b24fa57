"""Addresses that everybody may reach, and hosts that are written plainly."""

from __future__ import annotations

import pytest

from linocut.images.addresses import MAX_HOST, is_host, is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255",
    "100.128.0.1", "198.17.255.255", "198.20.0.1", "169.253.1.1", "192.167.1.1", "223.255.255.255",
    "2606:4700:4700::1111", "2a00:1450:4001:81b::200e", "2001:4860:4860::8888", "::ffff:8.8.8.8",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1",
    "2001:20::1", "2001:2::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1",
    "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%lo", "2606:4700::1%lo", "fec0::1",
    "ff02::1", "ff0e::1", "4000::1",
    "", "localhost", "127.1", "0177.0.0.1", "2130706433", "0x7f000001", "1.1.1.1 ", "1.1.1.1/32",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_an_ordinary_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    ["example.com", "a.b.c.example", "xn--caf-dma.example", "_dns.example", "example.com.",
     "localhost", "8.8.8.8", "::1", "2606:4700::1111", "1.example", "0x7f.example"],
)  # fmt: skip
def test_a_plain_host_is_one(host: str) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001", "127.1",
     "127.0.1", "127.0.0.1.", "127.0.0.01", "1.2.3.4.5", "example.1", "0x", "", ".", "a..b",
     "a b", "a\0b", "a%2eb", "127\u30020.0.1", "EXAMPLE.com", "fe80::1%lo", "[::1]", "a@b", "a/b",
     ("a" * 49 + ".") * 5 + "abcd"],
)  # fmt: skip
def test_a_host_in_disguise_is_none(host: str) -> None:
    assert not is_host(host)


def test_a_host_of_the_greatest_length_is_one() -> None:
    host = ("a" * 49 + ".") * 5 + "abc"
    assert len(host) == MAX_HOST
    assert is_host(host)
