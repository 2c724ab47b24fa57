"""More than the queue could take are not let in; whoever leaves makes room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidRequest, QueueFull
from linocut.jobs.terms import Limits
from linocut.server.doorway import LEAST, SHORTEST, Doorway

USUAL = Limits(queue=30, share=20)


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Places that are given back when a test ends."""
    with ExitStack() as stack:
        yield stack


def test_of_a_key_as_many_come_in_as_its_share_and_of_all_as_the_queue(held: ExitStack) -> None:
    doorway = Doorway()
    for _ in range(USUAL.share):
        held.enter_context(doorway.passing("a", USUAL))
    with pytest.raises(QueueFull, match="20 requests are being looked at, 20 of them of this key"):
        held.enter_context(doorway.passing("a", USUAL))
    for _ in range(USUAL.queue - USUAL.share):
        held.enter_context(doorway.passing("b", USUAL))
    with pytest.raises(QueueFull, match="30 requests are being looked at, 10 of them of this key"):
        held.enter_context(doorway.passing("b", USUAL))
    held.close()
    held.enter_context(doorway.passing("b", USUAL))


def test_a_few_may_come_together_however_short_the_queue(held: ExitStack) -> None:
    doorway, short = Doorway(), Limits(queue=1, share=1)
    for _ in range(LEAST):
        held.enter_context(doorway.passing("a", short))
    with pytest.raises(QueueFull):
        held.enter_context(doorway.passing("a", short))


def test_it_says_what_the_queue_said_last(held: ExitStack) -> None:
    doorway, short = Doorway(), Limits(queue=1, share=1)
    with pytest.raises(QueueFull), doorway.passing("a", short):
        raise QueueFull("full", retry_after=42)
    for _ in range(LEAST):
        held.enter_context(doorway.passing("a", short))
    with pytest.raises(QueueFull) as caught:
        held.enter_context(doorway.passing("a", short))
    assert (caught.value.retry_after, caught.value.hint) == (42, "try again in about 42 s")
    held.close()  # these found places
    assert doorway.wait == SHORTEST


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_whatever_becomes_of_them_all_places_come_back(calls: list[tuple[str, bool]]) -> None:
    doorway, limits = Doorway(), Limits(queue=60, share=60)
    for key, is_good in calls:
        if is_good:
            with doorway.passing(key, limits):
                pass
        else:
            with pytest.raises(InvalidRequest), doorway.passing(key, limits):
                raise InvalidRequest("no", hint="")
    assert doorway == Doorway()
