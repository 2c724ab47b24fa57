"""The history: in pages, searched, starred, canceled, deleted; and nobody else's."""

from __future__ import annotations

import re
from types import ModuleType
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest

ABSENT = "0199e8a4-5b8c-7d2e-9f10-1a2b3c4d5e6f"
NO_KEY = "images/none.webp"


@pytest.fixture
def mine(shared_server: Any) -> dict[str, str]:
    """The headers of somebody whose history is empty."""
    return {"API-KEY": shared_server.add_key()}


def draw(server: Any, desk: ModuleType, headers: dict[str, str], *prompts: str) -> list[str]:
    """Records of these prompts, one after the other."""
    uuids = []
    for prompt in prompts:
        answer = server.client.post("/api/features", json=desk.call(prompt), headers=headers)
        uuids.append(answer.json()["aiRecord"]["uuid"])
    return uuids


def opened(server: Any, desk: ModuleType) -> str:
    """A record that is drawn for seconds."""
    body = desk.call(num_inference_steps=50) | {"async": True}
    return str(server.client.post("/api/features", json=body).json()["aiRecord"]["uuid"])


def uuids_of(answer: httpx2.Response) -> list[str]:
    """The ids on a page."""
    return [record["uuid"] for record in answer.json()["records"]]


def test_the_history_is_read_in_pages(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    drawn = draw(shared_server, desk, mine, "one", "two", "three")
    first = shared_server.client.get("/api/records?limit=2", headers=mine)
    assert uuids_of(first) == [drawn[2], drawn[1]]
    assert first.json()["has_more"] is True
    link = re.fullmatch(r'<(.+)>; rel="next"', first.headers["link"])
    assert link
    last = shared_server.client.get(link[1], headers=mine)
    assert uuids_of(last) == [drawn[0]]
    assert (last.json()["has_more"], last.json()["next_cursor"]) == (False, None)
    assert "link" not in last.headers
    cursor = {"cursor": first.json()["next_cursor"], "limit": "2"}
    assert uuids_of(shared_server.client.get("/api/records", params=cursor, headers=mine)) == [
        drawn[0]
    ]


def test_the_history_is_searched(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    drawn = draw(shared_server, desk, mine, "a Red apple", "a blue apple", "100% red_")
    for text, expected in {
        "RED": [drawn[2], drawn[0]],
        "apple": [drawn[1], drawn[0]],
        "0% r": [drawn[2]],
        "%": [drawn[2]],
        "green": [],
    }.items():
        found = shared_server.client.get("/api/records", params={"search": text}, headers=mine)
        assert uuids_of(found) == expected, text


@pytest.mark.parametrize(
    "asked", ["limit=0", "limit=101", "limit=x", "cursor=x", "search=%00", "starred=maybe"]
)
def test_a_page_that_cannot_be_is_a_problem(shared_server: Any, asked: str) -> None:
    answer = shared_server.client.get(f"/api/records?{asked}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_cursor_of_somebody_else_is_refused(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    draw(shared_server, desk, mine, "one", "two")
    page = shared_server.client.get("/api/records?limit=1", headers=mine).json()
    cursor = {"cursor": page["next_cursor"]}
    other = {"API-KEY": shared_server.add_key()}
    answer = shared_server.client.get("/api/records", params=cursor, headers=other)
    assert answer.status_code == 400


def test_a_star_is_put_and_taken_away(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    client, (plain, starred) = shared_server.client, draw(shared_server, desk, mine, "a", "b")
    answer = client.put(f"/api/records/{starred}/star", headers=mine)
    assert answer.json()["aiRecord"]["metadata"]["starred"] is True
    assert uuids_of(client.get("/api/records?starred=true", headers=mine)) == [starred]
    assert uuids_of(client.get("/api/records?starred=false", headers=mine)) == [plain]
    answer = client.delete(f"/api/records/{starred}/star", headers=mine)
    assert answer.json()["aiRecord"]["metadata"]["starred"] is False


def test_a_record_is_deleted_with_its_files(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    (uuid,) = draw(shared_server, desk, mine, "to be deleted")
    record = shared_server.client.get(f"/api/records/{uuid}", headers=mine).json()["aiRecord"]
    (key,) = record["aiRecordDetail"]["resultObject"]
    file = shared_server.folder / "pictures" / key
    assert file.is_file()
    answer = shared_server.client.delete(f"/api/records/{uuid}", headers=mine)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not file.exists()
    assert httpx2.get(record["temporaryUrl"]).status_code == 404
    assert shared_server.client.get(f"/api/records/{uuid}", headers=mine).status_code == 404
    assert shared_server.client.delete(f"/api/records/{uuid}", headers=mine).status_code == 404


def test_an_open_record_is_canceled_first(slow_server: Any, desk: ModuleType) -> None:
    uuid = opened(slow_server, desk)
    refused = slow_server.client.delete(f"/api/records/{uuid}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    canceled = slow_server.client.post(f"/api/records/{uuid}/cancel")
    assert canceled.status_code == 200
    assert canceled.json()["aiRecord"]["status"] == "CANCELED"
    assert slow_server.client.delete(f"/api/records/{uuid}").status_code == 204


def test_a_cancel_frees_the_worker(slow_server: Any, desk: ModuleType) -> None:
    running, waiting, wanted = [opened(slow_server, desk) for _ in range(3)]
    for uuid in (running, waiting):
        slow_server.client.post(f"/api/records/{uuid}/cancel")

    def started() -> Any:
        record = slow_server.client.get(f"/api/records/{wanted}").json()["aiRecord"]
        return record["metadata"]["started_at"]

    slow_server.wait_until(started)
    slow_server.client.post(f"/api/records/{wanted}/cancel")
    for uuid in (running, waiting, wanted):
        record = slow_server.client.get(f"/api/records/{uuid}").json()["aiRecord"]
        assert (record["status"], record["temporaryUrl"]) == ("CANCELED", None)


def test_what_has_ended_is_not_canceled(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    (uuid,) = draw(shared_server, desk, mine, "done")
    answer = shared_server.client.post(f"/api/records/{uuid}/cancel", headers=mine)
    assert (answer.status_code, answer.json()["aiRecord"]["status"]) == (200, "SUCCESS")


def test_an_open_record_tells_its_place_and_about_how_long(
    slow_server: Any, desk: ModuleType
) -> None:
    uuids = [opened(slow_server, desk) for _ in range(3)]
    last = slow_server.client.get(f"/api/records/{uuids[-1]}").json()["aiRecord"]
    assert last["metadata"]["queue"]["place"] >= 1
    assert last["metadata"]["queue"]["seconds_left"] > 0
    for uuid in uuids:
        slow_server.client.post(f"/api/records/{uuid}/cancel")


def test_retention_is_told(running_server: Any, desk: ModuleType) -> None:
    server = running_server(LINOCUT_RETENTION_DAYS="2", LINOCUT_RETENTION_BYTES="1000000")
    record = server.client.post("/api/features", json=desk.call()).json()["aiRecord"]
    assert record["metadata"]["kept_until"] > record["metadata"]["finished_at"]
    assert record["metadata"]["kept_while_room"] is True
    uuid = record["uuid"]
    starred = server.client.put(f"/api/records/{uuid}/star").json()["aiRecord"]
    assert starred["metadata"]["kept_until"] is None
    assert starred["metadata"]["kept_while_room"] is False


def operations(server: Any) -> list[tuple[str, str]]:
    """(method, path) of everything that names something of somebody's."""
    described = httpx2.get(f"{server.url}/openapi.json").json()["paths"]
    return [
        (verb.upper(), path) for path, verbs in described.items() for verb in verbs if "{" in path
    ]


def filled(path: str, *, uuid: str = ABSENT, key: str = NO_KEY) -> str:
    """The path of something that may be there; KeyError where it names what nobody here knows."""
    return path.format(uuid=uuid, key=key)


def told(answer: httpx2.Response, *names: str) -> tuple[int, str]:
    """An answer without what names the request."""
    text = answer.text
    for name in (*names, answer.headers["x-request-id"]):
        text = text.replace(name, "…")
    return answer.status_code, text


def test_what_is_foreign_is_as_absent_as_what_never_was(
    shared_server: Any, desk: ModuleType, mine: dict[str, str]
) -> None:
    (uuid,) = draw(shared_server, desk, mine, "mine alone")
    record = shared_server.client.get(f"/api/records/{uuid}", headers=mine).json()["aiRecord"]
    (key,) = record["aiRecordDetail"]["resultObject"]
    stranger = {"API-KEY": shared_server.add_key(scopes=("admin",))}
    asked = operations(shared_server)
    assert len(asked) >= 9
    for method, path in asked:
        foreign, absent = [
            shared_server.client.request(method, filled(path, uuid=a, key=b), headers=stranger)
            for a, b in ((uuid, key), (ABSENT, NO_KEY))
        ]
        assert told(foreign, uuid, key) == told(absent, ABSENT, NO_KEY), path
        assert foreign.status_code in {403, 404} or foreign.json() == {"aiRecord": None}, path
    assert shared_server.client.get(f"/api/records/{uuid}", headers=mine).json() == {
        "aiRecord": record | {"temporaryUrl": ANY}
    }


def test_a_key_that_may_only_read_changes_nothing(shared_server: Any) -> None:
    reader = {"API-KEY": shared_server.add_key(scopes=("read",))}
    for method, path in operations(shared_server):
        if method not in {"GET", "HEAD"}:
            answer = shared_server.client.request(method, filled(path), headers=reader)
            assert answer.status_code == 403, path
