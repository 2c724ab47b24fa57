"""The table of moves, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from linocut.jobs.record import ENDINGS, FINAL, MOVES, Order, Record, State
from linocut.request import ImageRequest


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(State)


def test_what_is_final_moves_no_more() -> None:
    assert {State.SUCCESS, State.FAILURE, State.CANCELED} == FINAL
    assert all(not MOVES[state] for state in FINAL)


def test_every_state_is_reached_from_the_queue() -> None:
    reached = {State.QUEUED}
    while more := {to for state in reached for to in MOVES[state]} - reached:
        reached |= more
    assert reached == set(State)


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_whatever_is_open_can_be_canceled_or_fail(state: State) -> None:
    assert {State.CANCELED, State.FAILURE} <= MOVES[state]


def test_only_what_is_drawn_can_succeed() -> None:
    assert [state for state in State if State.SUCCESS in MOVES[state]] == [State.PROCESSING]


def test_no_state_moves_to_itself() -> None:
    assert not [state for state in State if state in MOVES[state]]


def test_every_ending_has_its_own_event() -> None:
    assert set(ENDINGS) == set(FINAL)
    assert len(set(ENDINGS.values())) == len(ENDINGS)


@pytest.mark.parametrize("state", State)
def test_a_record_knows_whether_it_is_final(state: State) -> None:
    whole: dict[str, Any] = {
        "id": "1", "tenant": "ann", "key_id": "k", "feature": "F", "model": "m",
        "body": {}, "order": Order(request=ImageRequest(prompt="an apple")), "estimate": 1.0,
        "attempt": 0, "fence": 0, "starred": False, "created_at": 0.0,
    }  # fmt: skip
    record = Record(state=State.QUEUED, **whole)
    assert replace(record, state=state).is_final == (state in FINAL)
