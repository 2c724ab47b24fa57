"""Keys as texts: long enough, checked, and stored as a digest."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.server.keys import (
    LETTERS,
    SCOPES,
    SECRET_LENGTH,
    digest,
    includes,
    new_key,
    parse_key,
)


def test_a_new_key_is_read_back() -> None:
    key = new_key()
    assert parse_key(key.text) == key
    assert key.text.startswith(f"lino_{key.id}_")


def test_a_secret_has_256_bits() -> None:
    assert SECRET_LENGTH * math.log2(len(LETTERS)) >= 256


def test_no_two_keys_are_alike() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.id for key in keys}) == len({key.text for key in keys}) == 100


@given(at=st.integers(5, 62), letter=st.sampled_from(LETTERS))
def test_a_typing_error_is_seen(at: int, letter: str) -> None:
    text = new_key().text
    changed = text[:at] + letter + text[at + 1 :]
    assert (parse_key(changed) is None) == (changed != text)


@pytest.mark.parametrize(
    "text",
    ["", "lino_", "x" * 64, "lino_" + "1" * 58, "LINO" + "x" * 59, "lino_ä" + "x" * 57, "\0", "é"],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert parse_key(text) is None


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_with_something_behind_it_is_none() -> None:
    assert parse_key(new_key().text + "\n") is None


def test_a_digest_depends_on_the_key_and_the_pepper() -> None:
    key, other = new_key(), new_key()
    assert digest(key, b"a") == digest(key, b"a")
    assert len({digest(key, b"a"), digest(key, b"b"), digest(other, b"a")}) == 3
    assert key.text[14:57] not in digest(key, b"a")


def test_a_key_does_not_show_its_secret() -> None:
    key = new_key()
    assert key.text not in f"{key!r} {key}"


@pytest.mark.parametrize("wanted", SCOPES)
def test_a_scope_includes_those_before_it(wanted: str) -> None:
    allowed = {scope for scope in SCOPES if includes(frozenset({scope}), wanted)}
    assert allowed == set(SCOPES[SCOPES.index(wanted) :])
    assert not includes(frozenset(), wanted)
