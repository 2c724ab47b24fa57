"""What a worker says on its way, as lines of a story."""

from __future__ import annotations

import base64
import json

import pytest

from linocut.events import Decoding, Encoding, Started, Step
from linocut.jobs.progress import told
from linocut.workers.protocol import Message, PreviewFile, Stopped

PROGRESS: tuple[tuple[Message, str, dict[str, object]], ...] = (
    (Encoding(), "progress", {"stage": "reading"}),
    (
        Step(3, 28, 0.123456, 3.14159),
        "progress",
        {"stage": "drawing", "step": 3, "steps": 28, "seconds": 0.1235, "left": 3.14},
    ),
    (Decoding(), "progress", {"stage": "decoding"}),
    (
        Started("mini", "exact", 256, 128, 28, ("small",)),
        "started",
        {
            "checkpoint": "mini",
            "mode": "exact",
            "drawn_width": 256,
            "drawn_height": 128,
            "steps": 28,
            "warnings": ["small"],
        },
    ),
)


@pytest.mark.parametrize(("message", "kind", "data"), PROGRESS, ids=lambda one: str(one)[:16])
def test_a_message_becomes_a_line(message: Message, kind: str, data: dict[str, object]) -> None:
    assert told(message) == (kind, data)
    assert json.loads(json.dumps(data)) == data


def test_a_preview_can_be_shown_as_it_is() -> None:
    kind, data = told(PreviewFile(i=2, data=b"RIFF", width=64, height=48))
    assert (kind, data["step"], data["width"], data["height"]) == ("preview", 2, 64, 48)
    head, _, body = data["image"].partition(",")
    assert head == "data:image/webp;base64"
    assert base64.b64decode(body) == b"RIFF"


def test_an_ending_is_no_progress() -> None:
    with pytest.raises(TypeError, match="Stopped"):
        told(Stopped(i=1, seconds=1.0))
