"""What a column takes, and how it says no."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects.sqlite import dialect

from linocut.errors import InvalidRequest
from linocut.jobs.columns import Json, Words, check_text

SQLITE = dialect()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_every_other_text_is_taken_as_it_is(text: str) -> None:
    assert check_text(text) == text
    assert Words().process_bind_param(text, SQLITE) == text


@pytest.mark.parametrize("text", ["\0", "a\0", "\ud800", "x\udfff", "\udc00\ud800"])
def test_a_nul_or_half_a_pair_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Words().process_bind_param(text, SQLITE)


@given(VALUES.filter(lambda value: value is not None))
def test_json_comes_back_as_it_was(value: object) -> None:
    text = Json().process_bind_param({"value": value}, SQLITE)
    assert text is not None
    assert text.isascii()
    assert "\0" not in text
    assert Json().process_result_value(text, SQLITE) == {"value": value}


def test_mappings_and_tuples_become_plain_json() -> None:
    value = MappingProxyType({"a": (1, MappingProxyType({"b": None}))})
    assert Json().process_bind_param(value, SQLITE) == '{"a":[1,{"b":null}]}'


def test_what_json_cannot_say_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (float("nan"), float("inf"), object(), {1, 2}, b"x", 10**5000, deep):
        with pytest.raises(InvalidRequest, match="JSON"):
            Json().process_bind_param(value, SQLITE)


def test_nothing_stays_nothing() -> None:
    for column in (Words(), Json()):
        assert column.process_bind_param(None, SQLITE) is None
    assert Json().process_result_value(None, SQLITE) is None
