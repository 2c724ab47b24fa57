"""Events are values: frozen, picklable, and plain JSON by one function."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError
from typing import get_args

import pytest

from linocut.errors import DoesNotFit
from linocut.events import (
    Canceled,
    Decoding,
    Done,
    Encoding,
    Event,
    Failed,
    Preview,
    Queued,
    Started,
    Step,
    to_json,
)
from linocut.request import Picture

PICTURE = Picture(2, 1, b"\0" * 6)
EVENTS = [
    (Queued(3), {"event": "queued", "place": 3}),
    (
        Started("linocut-mini", "exact", 128, 96, 28, ("a demo",)),
        {
            "event": "started",
            "checkpoint": "linocut-mini",
            "mode": "exact",
            "drawn_width": 128,
            "drawn_height": 96,
            "steps": 28,
            "warnings": ["a demo"],
        },
    ),
    (Encoding(), {"event": "encoding"}),
    (Step(2, 28, 0.5, 13.0), {"event": "step", "i": 2, "n": 28, "seconds": 0.5, "left": 13.0}),
    (Preview(4, PICTURE), {"event": "preview", "i": 4, "width": 2, "height": 1}),
    (Decoding(), {"event": "decoding"}),
    (
        Done(
            PICTURE, 7, 128, 96, "bf16", "tiny", demo=False, timings={"decoding": 0.25}, threads=2
        ),
        {
            "event": "done",
            "width": 2,
            "height": 1,
            "seed": 7,
            "drawn_width": 128,
            "drawn_height": 96,
            "mode": "bf16",
            "checkpoint": "tiny",
            "demo": False,
            "warnings": [],
            "timings": {"decoding": 0.25},
            "threads": 2,
        },
    ),
    (
        Failed(DoesNotFit("too large", hint="make it smaller")),
        {
            "event": "failed",
            "code": "does_not_fit",
            "message": "too large",
            "hint": "make it smaller",
        },
    ),
    (Canceled(5), {"event": "canceled", "i": 5}),
]
NAMES = [type(event).__name__ for event, _ in EVENTS]


@pytest.mark.parametrize(("event", "values"), EVENTS, ids=NAMES)
def test_an_event_is_plain_json(event: Event, values: dict[str, object]) -> None:
    assert json.loads(json.dumps(to_json(event))) == values


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=NAMES)
def test_an_event_survives_a_pickle(event: Event) -> None:
    again = pickle.loads(pickle.dumps(event))  # noqa: S301 - our own
    assert to_json(again) == to_json(event)
    assert isinstance(event, Failed) or again == event


@pytest.mark.parametrize("event", [event for event, _ in EVENTS], ids=NAMES)
def test_an_event_cannot_be_edited(event: Event) -> None:
    for name in event.__dataclass_fields__:
        with pytest.raises(FrozenInstanceError):
            setattr(event, name, None)


def test_every_kind_of_event_is_tried_here() -> None:
    assert {type(event) for event, _ in EVENTS} == set(get_args(Event))
