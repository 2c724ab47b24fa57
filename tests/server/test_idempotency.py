"""The Idempotency-Key as it is sent, and what makes two requests the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidRequest
from linocut.server.idempotency import MAX_CHARACTERS, fingerprint, key_in

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def test_no_header_is_no_key() -> None:
    assert key_in(None) == ""


@pytest.mark.parametrize("sent", ["8e03978e-40d5", '"8e03978e-40d5"', '  "8e03978e-40d5" '])
def test_a_key_counts_with_and_without_the_quotes_of_the_draft(sent: str) -> None:
    assert key_in(sent) == "8e03978e-40d5"


@pytest.mark.parametrize("sent", ["", '""', "two words", "clé", "a\tb", "x" * 256])
def test_a_key_that_is_none_is_refused_by_its_name(sent: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        key_in(sent)
    assert caught.value.field == "Idempotency-Key"


def test_the_longest_key_is_taken() -> None:
    assert key_in("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=5))
def test_the_order_of_fields_makes_no_difference(body: dict[str, object]) -> None:
    turned = dict(reversed(body.items()))
    assert fingerprint("/a", body) == fingerprint("/a", turned)


def test_a_value_or_a_route_makes_a_difference() -> None:
    prints = {
        fingerprint("/a", {"seed": 1}),
        fingerprint("/a", {"seed": 2}),
        fingerprint("/a", {"seed": "1"}),
        fingerprint("/b", {"seed": 1}),
    }
    assert len(prints) == 4
