"""`storage_key`: what the wire table prints; `parts_of`: nothing that leads anywhere else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import NotFound
from linocut.images.keys import MAX_KEY, MAX_PARTS, MAX_SLUG, parts_of, slug, storage_key

NOON = 1_774_605_604.001  # 2026-03-27 10:00:04.001 UTC


def test_a_key_says_when_it_was_made_and_what_it_shows() -> None:
    key = storage_key(NOON, "development/", "Coffee shop, at dawn!", "webp")
    tail = r"[a-z0-9]{6}_coffee_shop_at_dawn\.webp"
    assert re.fullmatch(rf"development/images/2026_03_27_10_00_04_001_{tail}", key)


def test_a_key_needs_no_prefix() -> None:
    assert storage_key(NOON, "", "cat", "png").startswith("images/2026_03_27_10_00_04_001_")


def test_two_keys_of_one_moment_differ() -> None:
    assert len({storage_key(NOON, "", "cat", "png") for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Café Zoë", "cafe_zoe"),
        ("日本の城", "picture"),
        ("", "picture"),
        ("___", "picture"),
        ("../../etc/passwd", "etc_passwd"),
        ("a\0b\u202ec", "a_b_c"),
        ("ﬁne ½", "fine_1_2"),
        ("x" * 100, "x" * MAX_SLUG),
        ("y" * (MAX_SLUG - 1) + " z", "y" * (MAX_SLUG - 1)),
        ("\ud800 cat", "cat"),
    ],
)
def test_a_slug_is_short_and_plain(name: str, expected: str) -> None:
    assert slug(name) == expected


@given(st.text(max_size=200))
def test_every_name_makes_a_key_that_can_be_used(name: str) -> None:
    key = storage_key(NOON, "t/", name, "webp")
    assert parts_of(key) == ("t", "images", key.removeprefix("t/images/"))
    assert len(slug(name)) <= MAX_SLUG


@pytest.mark.parametrize("prefix", ["/", "../", "a", "a b/", ".hidden/", "a//", "ü/", "a/" * 9])
def test_a_prefix_that_leads_elsewhere_is_refused(prefix: str) -> None:
    if prefix == "a":  # joined to "aimages/…": odd, and harmless
        assert parts_of(storage_key(NOON, prefix, "cat", "png"))[0] == "aimages"
        return
    with pytest.raises(ValueError, match="prefix="):
        storage_key(NOON, prefix, "cat", "png")


@pytest.mark.parametrize("extension", ["", ".png", "p/g", "PNG", "webp\n", "verylongone"])
def test_an_odd_extension_is_refused(extension: str) -> None:
    with pytest.raises(ValueError, match="extension="):
        storage_key(NOON, "", "cat", extension)


@pytest.mark.parametrize("key", ["a", "images/a.webp", "A-b_c.d/1..2.png", "/".join("a" * 8)])
def test_a_plain_key_is_taken_apart(key: str) -> None:
    assert "/".join(parts_of(key)) == key


@pytest.mark.parametrize(
    "key",
    [
        "", "/", "/a", "a/", "a//b", ".", "..", "...", "a/..", "a/../b", ".a", "a/.b", "a\\b",
        "a%2fb", "%2e%2e", "a b", "a\0", "a\n", "a\r\n", "ä", "\uff0e\uff0e", "\u2024\u2024", "a:b",
        "~", "a*", "a/" * MAX_PARTS + "a", "a" * 128, "a" * (MAX_KEY + 1), "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_key_is_not_found(key: str) -> None:
    with pytest.raises(NotFound, match="no such picture"):
        parts_of(key)
