"""The description of streams and webhooks, held against real ones."""

from __future__ import annotations

import json
import signal
from types import ModuleType
from typing import Any

import pytest
from description import Description

from linocut.server.schemas_events import DATA, EVENT

LINES = ("id", "event", "data")


@pytest.fixture(scope="module")
def described(shared_server: Any) -> Description:
    """What the server says of itself."""
    return Description(shared_server.client.get("/openapi.json").json())


def told(raw: bytes | str) -> list[dict[str, str]]:
    """The events of a stream, each as its lines; `data` is still a text."""
    text = raw.decode() if isinstance(raw, bytes) else raw
    blocks = [[line.partition(": ") for line in b.splitlines()] for b in text.split("\n\n")]
    events = [{name: value for name, _, value in block if name in LINES} for block in blocks]
    return [event for event in events if "data" in event]


def faults(described: Description, event: dict[str, str]) -> list[str]:
    """What the description does not say of an event, of its lines and of its data."""
    shape = described.resolved(EVENT)
    (content,) = [
        each["properties"]["data"]["contentSchema"]
        for each in shape["oneOf"]
        if each["properties"]["event"]["const"] == event["event"]
    ]
    found = described.faults(EVENT, event)
    return found + described.faults(content, json.loads(event["data"]))


def stopped(server: Any, desk: ModuleType) -> str:
    """A stream that its server leaves."""
    body, text = desk.call("[slow] the last", num_inference_steps=50), ""
    with server.client.stream("POST", "/api/features?isStreaming=true", json=body) as answer:
        for piece in answer.iter_text():
            if not text:
                server.process.send_signal(signal.SIGTERM)
            text += piece
    return text


def test_every_event_is_as_it_is_described(
    described: Description, running_server: Any, desk: ModuleType
) -> None:
    server = running_server(
        LINOCUT_WORKER="fake --step-seconds=0.1",
        LINOCUT_MAX_ATTEMPTS="2",
        LINOCUT_DRAIN_SECONDS="0",
    )

    def streamed(prompt: str, **fields: Any) -> bytes:
        body = desk.call(prompt, num_inference_steps=6, **fields)
        return bytes(server.client.post("/api/features?isStreaming=true", json=body).content)

    sent = server.client.post("/api/assets", files={"asset": ("a.png", desk.picture())}).json()
    body = desk.call("[slow] canceled") | {"async": True}
    uuid = server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"]
    server.client.post(f"/api/records/{uuid}/cancel")
    streams = [
        streamed("a red apple"),
        streamed("[refuse-output]"),
        streamed("[crash]"),
        streamed("given back", imageUrl=sent["fileContent"]["path"], prompt_strength=0),
        server.client.get(f"/api/records/{uuid}/events").content,
        stopped(server, desk),
    ]
    events = [event for stream in streams for event in told(stream)]
    assert {event["event"] for event in events} == set(DATA)
    data = {event["event"]: set() for event in events}
    for event in events:
        assert faults(described, event) == []
        data[event["event"]] |= set(json.loads(event["data"]))
    for kind, seen in data.items():
        assert set(described.fields(f"{kind.title()}Event")) <= seen, kind


def test_an_event_that_is_not_described_is_found(described: Description) -> None:
    data = {"uuid": "a", "place": 1}
    for event, fault in (
        ({"event": "queued", "data": data, "id": "x"}, "id"),
        ({"event": "queued", "data": data | {"more": 1}}, "more"),
        ({"event": "queued", "data": {"uuid": "a"}}, "place"),
        ({"event": "progress", "data": {"uuid": "a", "stage": "dreaming"}}, "stage"),
    ):
        (found,) = faults(described, event | {"data": json.dumps(event["data"])})
        assert fault in found
    assert described.faults(EVENT, {"event": "mended", "data": "{}"})


def test_both_streams_are_described_by_their_events(described: Description) -> None:
    streams = {
        name: said["content"]["text/event-stream"]
        for (name, status), said in described.answers().items()
        if "text/event-stream" in said.get("content", {})
    }
    assert streams == {name: {"schema": EVENT} for name in ("createPicture", "streamEvents")}
