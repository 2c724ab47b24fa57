"""Bodies: what is read, and what is refused with its place and an advice."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidBody, UnsupportedMedia
from linocut.server.body import MAX_DEPTH, MAX_TOKENS, read_json

JSON = "application/json"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.just("a"), inner, max_size=1),
    max_leaves=12,
)

WRONG: tuple[tuple[bytes, str, str], ...] = (
    (b"", "empty", "JSON object"),
    (b" \n", "empty", "JSON object"),
    (b"[1]", "line 1, column 1", "begin it with {"),
    (b"null", "must be a JSON object", "begin it with {"),
    (b'{"a": NaN}', "line 1, column 7", "no NaN"),
    (b'{"a": -Infinity}', "not finite", "no NaN"),
    (b'{\n"a": 1e999}', "line 2, column 6", "1e999"),
    (b'{"a": -1e999}', "not finite", "1e999"),
    (rb'{"a": "\ud800"}', "surrogate", "both halves"),
    (rb'{"\udc00": 1}', "surrogate", "both halves"),
    (rb'{"a": "\u0000"}', r"\u0000", "remove it"),
    (b'{"a": "\x00"}', r"\u0000", "remove it"),
    (b'{"a": ' + b"1" * 5000 + b"}", "a number of 5,000 characters", "at most 64"),
    (b'{"a": 1, "b": 2, "a": 3}', "line 1, column 18", "keep one"),
    (rb'{"a": 1, "\u0061": 2}', "line 1, column 10", "keep one"),
    (b'{"b": [{"a": 1, "a": 1}]}', "line 1, column 17", "keep one"),
    (b'{"a": 1,}', "line 1, column 9", "no comma follows"),
    (b"{'a': 1}", "line 1, column 2", "double quotes"),
    (b'{"a": 1} {}', "line 1, column 10", "nothing after it"),
    (b'{"a": "x\ny"}', "line 1, column 9", r"\n"),
    (b'{"a": "x', "line 1, column 7", "closing quote"),
    (rb'{"a": "\x"}', "line 1, column 8", "backslash"),
    (b'{"a" 1}', "line 1, column 6", "quotes"),
    (b'{"a": "\xff"}', "byte 8", "UTF-8"),
    ('{"a": 1}'.encode("utf-16"), "UTF-16", "UTF-8"),
    ('{"a": 1}'.encode("utf-32-le"), "UTF-16", "UTF-8"),
    (b"[" * 100_000, "deeper than 32", "flatter"),
    (b'{"a":' * 100_000, "deeper than 32", "flatter"),
    (b'{"a": [' + b"1," * MAX_TOKENS + b"1]}", f"over {MAX_TOKENS:,}", "fewer"),
)


@pytest.mark.parametrize(("raw", "said", "hint"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_body_is_refused_with_its_place_and_an_advice(
    raw: bytes, said: str, hint: str
) -> None:
    with pytest.raises(InvalidBody) as caught:
        read_json(raw, JSON)
    assert said in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        JSON,
        "Application/JSON; Charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/problem+json",
    ],
)
def test_json_in_utf8_is_read_under_its_names(kind: str | None) -> None:
    assert read_json('{"a": "é"}'.encode(), kind) == {"a": "é"}


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-16",
        ";",
    ],
)
def test_other_types_and_charsets_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedMedia, match=r"JSON is read here|UTF-8 is read here") as caught:
        read_json(b"{}", kind)
    assert "header Content-Type" in caught.value.hint


def test_a_mark_of_the_byte_order_is_passed_over() -> None:
    assert read_json(b'\xef\xbb\xbf{"a": 1}', JSON) == {"a": 1}


def test_names_may_repeat_in_different_objects_and_among_values() -> None:
    text = '{"a": {"a": "a"}, "b": [{"a": 1}, {"a": 2}, "a", "a"], "c:d": "a"}'
    assert read_json(text.encode(), JSON) == json.loads(text)


def test_signs_inside_texts_are_only_texts() -> None:
    text = '{"a": "[[[{{{ NaN 1e999 \\" \\\\", "b": "\\ud83d\\ude00"}'
    assert read_json(text.encode(), JSON) == json.loads(text)


def test_the_deepest_allowed_object_is_read() -> None:
    text = '{"a":' * (MAX_DEPTH - 1) + "{}" + "}" * (MAX_DEPTH - 1)
    assert read_json(text.encode(), JSON) == json.loads(text)
    with pytest.raises(InvalidBody):
        read_json(f'{{"a":{text}}}'.encode(), JSON)


def test_little_of_the_body_is_repeated() -> None:
    with pytest.raises(InvalidBody) as caught:
        read_json(b"{" + b"s" * 1000, JSON)
    assert sum(len(run) for run in re.findall("s{5,}", str(caught.value))) <= 80


@pytest.mark.parametrize(
    "raw",
    [b'"\\' * 500_000, b" " * 1_000_000, b"," * 1_000_000, b'"' * 1_000_000, b"a" * 1_000_000,
     b"-" * 1_000_000, b"0" * 1_000_000, b"N" * 1_000_000, b'{"a":"' + b"\\u0041" * 200_000,
     b'{"a"' + b" " * 1_000_000],
    ids=lambda raw: repr(raw[:4]),
)  # fmt: skip
def test_no_body_takes_more_than_linear_time(raw: bytes) -> None:
    began = time.process_time()
    with pytest.raises(InvalidBody):
        read_json(raw, JSON)
    # Quadratic time would be minutes; the bound is a hundred times what linear time takes.
    assert time.process_time() - began < 10


@given(VALUES)
def test_whatever_is_an_object_comes_out_as_it_went_in(value: object) -> None:
    for ascii_only in (True, False):
        raw = json.dumps({"value": value}, ensure_ascii=ascii_only).encode()
        assert read_json(raw, JSON) == {"value": value}


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123eE.-\\u NaIn\n', max_size=60))
def test_no_body_makes_another_error(raw: bytes | str) -> None:
    try:
        value = read_json(raw.encode() if isinstance(raw, str) else raw, JSON)
    except InvalidBody as error:
        error.message.encode()
        return
    assert isinstance(value, dict)
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
