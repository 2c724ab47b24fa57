"""The headers that answers are described with, held against those they have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import httpx2
import pytest
from description import Description

from linocut.server.edge import EXPOSED, SAFE
from linocut.server.schemas_headers import HEADERS, OF_OPERATION

KEEPS = {"cache-control"}  # told where it is more than that nothing may be kept
UNTOLD = {
    "content-length", "content-type", "date", "transfer-encoding", "connection",
    *(name.lower() for name in SAFE if name.lower() not in KEEPS),
}  # fmt: skip
SETTINGS = {
    "LINOCUT_MAX_BODY": "100000",
    "LINOCUT_MAX_UPLOAD": "40000",
    "LINOCUT_WORKER": "fake --step-seconds=0.01",
}
DRAW, UPLOAD = "/api/features", "/api/assets"


@pytest.fixture(scope="module")
def server(lasting_server: Any) -> Any:
    """One whose keys have a rate."""
    return lasting_server(**SETTINGS)


@pytest.fixture(scope="module")
def described(server: Any) -> Description:
    """What it says of itself."""
    return Description(server.client.get("/openapi.json").json())


def hold(described: Description, operation: str, answers: Iterator[httpx2.Response]) -> set[int]:
    """Each answer has no header that is not described; together they have all that are.

    The statuses that were met.
    """
    seen: dict[int, set[str]] = defaultdict(set)
    for answer in answers:
        status, said = answer.status_code, described.headers(operation, answer.status_code)
        there = set(answer.headers) - UNTOLD
        assert there <= set(said) | KEEPS, (status, there)
        missing = {name for name, header in said.items() if header.get("required")} - there
        assert not missing, (status, missing)
        for name in set(said) & there:
            value, schema = answer.headers[name], said[name]["schema"]
            as_is = int(value) if schema["type"] == "integer" else value
            assert described.faults(schema, as_is) == [], (status, name)
        seen[status] |= there
    for status, names in seen.items():
        assert set(described.headers(operation, status)) <= names, status
    return set(seen)


def of_its_own(operation: str) -> set[int]:
    """The statuses with headers of the operation's own, but those of troubles of the server."""
    return {status for status in OF_OPERATION[operation] if status < 500}


def creations(server: Any, desk: ModuleType) -> Iterator[httpx2.Response]:
    """Answers to drawing, with all the headers that each status may have."""
    ask = partial(server.client.post, DRAW)
    body, slow = desk.call(num_inference_steps=1), desk.call("[slow]", num_inference_steps=50)
    once, stopped = {"Idempotency-Key": "once"}, {"Idempotency-Key": "stopped"}
    at_once = {"Prefer": "respond-async"}
    for _ in range(2):
        yield ask(json=body, headers=once)
        yield ask(json=body, headers=once | at_once)
        yield ask(json=body, headers=once, params={"isStreaming": "true"})
        yield ask(json=desk.call("[refuse]"), headers={"Idempotency-Key": "refused"})
    for _ in range(2):
        yield (accepted := ask(json=slow, headers=stopped | at_once))
    server.client.post(f"{accepted.headers['Location']}/cancel")
    yield ask(json=slow, headers=stopped)
    yield ask(json=slow, headers=once)
    yield ask(content=b"{}", headers={"Content-Type": "text/plain"})
    large = (b" " * 50_000 for _ in range(3))  # its size is not known until it has come
    yield ask(content=large, headers={"Content-Type": "application/json"})
    yield ask(json=body, headers={"API-KEY": "none"})
    yield ask(json=body, headers={"API-KEY": server.add_key(rate=100.0, quota_seconds=0.001)})
    limited = {"API-KEY": server.add_key(rate=1.0)}
    yield from [ask(json=body, headers=limited) for _ in range(2)]


def uploads(server: Any, desk: ModuleType) -> Iterator[httpx2.Response]:
    """Answers to uploading."""
    ask, files = partial(server.client.post, UPLOAD), {"asset": ("a.png", desk.picture())}
    yield ask(files=files)
    yield ask(files={"asset": ("a.png", b"none")})
    yield ask(files={"asset": ("a.png", bytes(50_000))})
    yield ask(content=b"{}", headers={"Content-Type": "text/plain"})
    yield ask(files=files, headers={"API-KEY": "none"})
    limited = {"API-KEY": server.add_key(rate=1.0)}
    yield from [ask(files=files, headers=limited) for _ in range(2)]


def test_drawing_is_answered_with_the_headers_that_are_described(
    server: Any, desk: ModuleType, described: Description
) -> None:
    met = hold(described, "createPicture", creations(server, desk))
    assert met == of_its_own("createPicture") | {401}


def test_uploading_is_answered_with_the_headers_that_are_described(
    server: Any, desk: ModuleType, described: Description
) -> None:
    met = hold(described, "uploadAsset", uploads(server, desk))
    assert met == of_its_own("uploadAsset") | {401}


@pytest.mark.parametrize(("method", "operation"), [("GET", "getFile"), ("HEAD", "headFile")])
def test_files_are_served_with_the_headers_that_are_described(
    server: Any, desk: ModuleType, described: Description, method: str, operation: str
) -> None:
    drawn = server.client.post(DRAW, json=desk.call(num_inference_steps=1)).json()["aiRecord"]
    ask = partial(httpx2.request, method, drawn["temporaryUrl"])

    def answers() -> Iterator[httpx2.Response]:
        yield (whole := ask())
        yield ask(headers={"Range": "bytes=0-9"})
        yield ask(headers={"Range": "bytes=99999999-"})
        yield ask(headers={"If-None-Match": whole.headers["ETag"]})
        yield httpx2.request(method, drawn["temporaryUrl"].partition("?")[0])

    assert hold(described, operation, answers()) == of_its_own(operation) | {403}


def test_all_else_is_answered_with_the_headers_that_are_described(
    server: Any, desk: ModuleType, described: Description
) -> None:
    for _ in range(2):
        drawn = server.client.post(DRAW, json=desk.call(num_inference_steps=1)).json()["aiRecord"]
    one, get = f"/api/records/{drawn['uuid']}", server.client.get
    nobody = {"API-KEY": "none"}
    pages = [get("/api/records?limit=1"), get("/api/records", headers=nobody)]
    stories = [get(f"{one}/events"), get(f"{one}/events?after=99"), get("/api/records/x/events")]
    for operation, answers in {
        "listRecords": pages,
        "streamEvents": stories,
        "getRecord": [get(one), get("/api/records/x")],
        "getResult": [get(f"/api/results/{drawn['uuid']}")],
        "starRecord": [server.client.put(f"{one}/star")],
        "cancelRecord": [server.client.post(f"{one}/cancel")],
        "deleteRecord": [server.client.delete(one)],
        "listModels": [get("/models")],
        "livez_livez_get": [get("/livez")],
        "readyz_readyz_get": [get("/readyz")],
        "metrics_metrics_get": [get("/metrics"), get("/metrics", headers=nobody)],
    }.items():
        met = hold(described, operation, iter(answers))
        assert of_its_own(operation) <= met if operation in OF_OPERATION else met, operation


def test_a_server_that_cannot_draw_says_when_to_ask_again(
    running_server: Any, described: Description
) -> None:
    server = running_server(LINOCUT_WORKER="fake --load-seconds=600", ready=False)
    met = hold(described, "readyz_readyz_get", iter([server.client.get("/readyz")]))
    assert met == {503}


def test_what_pages_of_other_origins_may_read_is_described() -> None:
    assert set(EXPOSED) <= set(HEADERS)


def test_each_header_is_described_once_and_somewhere(described: Description) -> None:
    answers = described.answers()
    for operation, statuses in OF_OPERATION.items():
        assert {(operation, status) for status in statuses} <= set(answers)
    used = {header["$ref"] for said in answers.values() for header in said["headers"].values()}
    assert used == {f"#/components/headers/{name}" for name in HEADERS}
    assert all("x-request-id" in described.headers(*answer) for answer in answers)
