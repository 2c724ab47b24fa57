"""The marks between pages: ours are read back, and nobody else's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidRequest
from linocut.server.paging import cursor_of, record_before

SECRET = b"s" * 32
ID = "0198a1b2-0000-7000-8000-000000000001"


def test_a_mark_leads_back_to_its_record() -> None:
    mark = cursor_of(ID, tenant="a", secret=SECRET)
    assert record_before(mark, tenant="a", secret=SECRET) == ID


def test_a_mark_is_plain_in_an_address() -> None:
    mark = cursor_of(ID, tenant="a", secret=SECRET)
    assert mark.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("other", [{"tenant": "b"}, {"secret": b"t" * 32}])
def test_a_mark_of_somebody_else_is_refused(other: dict[str, object]) -> None:
    mark = cursor_of(ID, tenant="a", secret=SECRET)
    with pytest.raises(InvalidRequest) as caught:
        record_before(mark, **({"tenant": "a", "secret": SECRET} | other))
    assert caught.value.field == "cursor"


@given(st.text(max_size=200))
def test_a_mark_that_was_made_up_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        record_before(text, tenant="a", secret=SECRET)


def test_a_mark_that_was_changed_is_refused() -> None:
    mark = cursor_of(ID, tenant="a", secret=SECRET)
    for at, letter in enumerate(mark[:-1]):  # the last letter has bits that are not read
        changed = mark[:at] + ("A" if letter != "A" else "B") + mark[at + 1 :]
        with pytest.raises(InvalidRequest):
            record_before(changed, tenant="a", secret=SECRET)
