"""Webhooks as a receiver gets them: signed, about a record, with a link that works."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from description import Description
from standardwebhooks.webhooks import Webhook

from linocut.images.fetch import FetchPolicy
from linocut.jobs.terms import Delivery
from linocut.server.secrets import open_secrets
from linocut.server.webhooks import check_receiver, webhook_body

Message = tuple[dict[str, str], bytes]


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[Message]]]:
    """A port on this computer, and what has come there."""
    came: list[Message] = []

    class Ear(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            came.append((dict(self.headers.items()), self.rfile.read(length)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port, came
        server.shutdown()
        thread.join()


def test_a_receiver_hears_how_it_ended(
    running_server: Any, receiver: tuple[int, list[Message]]
) -> None:
    port, came = receiver
    server = running_server(LINOCUT_FETCH_ALLOW=f"127.0.0.1:{port}")
    body = {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": {"prompt": "a red apple", "num_inference_steps": 1},
        "webhook": f"http://127.0.0.1:{port}/hook",
    }
    record = server.client.post("/api/features", json=body).json()["aiRecord"]
    server.wait_until(lambda: came)
    headers, content = came[0]
    named = {name.lower(): value for name, value in headers.items()}
    said = Webhook(open_secrets(server.folder).webhook).verify(content, named)
    assert said == json.loads(content)
    assert said["type"] == "record.completed"
    assert said["data"]["aiRecord"]["uuid"] == record["uuid"]
    assert said["data"]["aiRecord"]["status"] == "SUCCESS"
    assert server.client.get(said["data"]["aiRecord"]["temporaryUrl"]).status_code == 200
    described = Description(server.client.get("/openapi.json").json())
    assert differences(described, named, said) == []
    for other in ({"type": "record.started"}, {"timestamp": 1}, {"data": {}}, {"more": 1}):
        assert differences(described, named, said | other), other
    assert differences(described, named | {"webhook-signature": "v2,x"}, said)


def differences(described: Description, headers: dict[str, str], said: Any) -> list[str]:
    """What a delivery has other than the description of webhooks says."""
    hook = described.api["webhooks"]["recordEnded"]["post"]
    found = described.faults(hook["requestBody"]["content"]["application/json"]["schema"], said)
    for each in hook["parameters"]:
        found += described.faults(each["schema"], headers.get(each["name"]))
    return found


def test_a_record_that_is_gone_has_nothing_to_say() -> None:
    async def gone(_tenant: str, _id: str) -> None:
        return None

    service: Any = SimpleNamespace(store=SimpleNamespace(record=gone))
    delivery = Delivery(
        id="1", record_id="2", tenant="3", event="completed", url="http://x", attempt=1
    )

    async def body() -> str | None:
        return await webhook_body(service, "http://here")(delivery)

    assert asyncio.run(body()) is None


def test_a_receiver_that_no_delivery_can_reach_is_told_at_once(running_server: Any) -> None:
    server = running_server()
    body = {
        "type": "IMAGE_GENERATOR",
        "model": "black-forest-labs/flux-2-dev",
        "promptObject": {"prompt": "a red apple"},
        "webhook": "http://10.0.0.1/hook",
    }
    answer = server.client.post("/api/features", json=body)
    assert answer.status_code == 400
    said = answer.json()
    assert said["code"] == "invalid_request"
    assert said["errors"][0]["pointer"] == "#/webhook"
    assert "no public address" in said["detail"]
    assert "LINOCUT_FETCH_ALLOW" in said["hint"]
    assert server.client.get("/api/records").json()["records"] == []


def test_no_receiver_is_no_wrong_one() -> None:
    check_receiver("", FetchPolicy())
