"""A record's events: taken up behind any of them, told to their owner alone, over when it ends."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

ABSENT = "0199e8a4-5b8c-7d2e-9f10-1a2b3c4d5e6f"


def drawn(server: Any, desk: ModuleType) -> str:
    """A record that has ended."""
    return str(server.client.post("/api/features", json=desk.call()).json()["aiRecord"]["uuid"])


def test_a_stream_that_is_cut_goes_on_behind_the_last_event(
    slow_server: Any, desk: ModuleType
) -> None:
    body = desk.call(num_inference_steps=8) | {"async": True}
    uuid = slow_server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"]
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["event"] != "completed":
        headers = {"Last-Event-ID": seen[-1]["id"]} if seen else {}
        address = f"/api/records/{uuid}/events"
        with slow_server.client.stream("GET", address, headers=headers) as answer:
            assert answer.status_code == 200
            raw = ""
            for piece in answer.iter_text():
                raw += piece
                if events := desk.parsed(raw[: raw.rfind("\n\n") + 2]):
                    seen.append(events[0])  # and no more: the line is cut here
                    break
    assert [int(event["id"]) for event in seen] == list(range(1, len(seen) + 1))
    assert seen[0]["event"] == "queued"
    assert seen[-1]["data"]["aiRecord"]["status"] == "SUCCESS"


@pytest.mark.parametrize("how", ["header", "query"])
def test_a_story_is_read_behind_a_number(shared_server: Any, desk: ModuleType, how: str) -> None:
    address = f"/api/records/{drawn(shared_server, desk)}/events"
    whole = desk.parsed(shared_server.client.get(address).content)
    rest = shared_server.client.get(
        address,
        headers={"Last-Event-ID": "2"} if how == "header" else {},
        params={"after": "2"} if how == "query" else {},
    )
    assert (
        desk.parsed(rest.content)
        == [
            event | {"data": told["data"]}  # the last one brings a link of its own each time
            for event, told in zip(whole[2:], desk.parsed(rest.content), strict=True)
        ]
    )


def test_behind_the_end_there_is_nothing(shared_server: Any, desk: ModuleType) -> None:
    address = f"/api/records/{drawn(shared_server, desk)}/events"
    last = desk.parsed(shared_server.client.get(address).content)[-1]["id"]
    answer = shared_server.client.get(address, headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "99999999999", "²"])
def test_a_number_that_is_none_is_a_problem(
    shared_server: Any, desk: ModuleType, text: str
) -> None:
    address = f"/api/records/{drawn(shared_server, desk)}/events"
    headers = [(b"Last-Event-ID", text.encode("latin-1"))]
    answer = shared_server.client.get(address, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_nobody_reads_the_story_of_somebody_else(shared_server: Any, desk: ModuleType) -> None:
    stranger = {"API-KEY": shared_server.add_key()}
    for uuid in (drawn(shared_server, desk), ABSENT):
        answer = shared_server.client.get(f"/api/records/{uuid}/events", headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_proxy_is_told_to_pass_events_on(shared_server: Any, desk: ModuleType) -> None:
    answer = shared_server.client.get(
        f"/api/records/{drawn(shared_server, desk)}/events", headers={"Accept-Encoding": "gzip"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers
    assert answer.content.startswith(b"retry: 2000\n\n")
