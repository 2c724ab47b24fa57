"""The tree of errors: drawn as it is, each with a code of its own, whole after a pickle."""

from __future__ import annotations

import json
import pickle
import re

import pytest

from linocut import errors
from linocut.errors import InvalidRequest, LinocutError

TREE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LinocutError)
]


NEEDED = {kind: {"retry_after": 2.5} for kind in TREE if issubclass(kind, errors.Later)}
NEEDED[errors.ContentRefused] = {"stage": "input", "category": "sexual"}


def depth(kind: type[LinocutError]) -> int:
    """How far below the root."""
    return kind.__mro__.index(LinocutError)


def test_the_drawing_is_the_tree() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+)", errors.__doc__ or "", re.MULTILINE)
    places = {name: len(lines) // 4 for lines, name in drawn}
    assert places == {kind.__name__: depth(kind) for kind in TREE}


def test_codes_are_stable_words_and_none_is_used_twice() -> None:
    codes = [kind.code for kind in TREE]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_exit_codes_leave_success_and_signals_alone() -> None:
    assert all(1 <= kind.exit_code < 64 for kind in TREE)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_a_pickle(kind: type[LinocutError]) -> None:
    error = kind("what happened", hint="what to do", **NEEDED.get(kind, {}))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is kind
    assert (str(again), again.message, again.hint) == (
        "what happened",
        "what happened",
        "what to do",
    )
    assert errors.to_stored(again) == errors.to_stored(error)


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_it_was_stored(kind: type[LinocutError]) -> None:
    error = kind("what happened", hint="what to do", **NEEDED.get(kind, {}))
    stored = json.loads(json.dumps(errors.to_stored(error)))
    again = errors.of_stored(stored)
    assert type(again) is kind
    assert errors.to_stored(again) == errors.to_stored(error)


def test_a_wrong_field_is_named_after_a_pickle_too() -> None:
    error = InvalidRequest("width=3", field="width", hint="use 64")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (again.message, again.field, again.hint) == ("width=3", "width", "use 64")
