"""`POST /api/features`: the three ways of answering, and what a caller is told on each."""

from __future__ import annotations

import base64
import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import ModuleType
from typing import Any

import httpx2
import pytest
from PIL import Image
from starlette.requests import Request

from linocut.server.routes.features import MAX_PREFERENCE, Preference

PATH = "/api/features"


def post(server: Any, body: Any, path: str = PATH, **headers: str) -> httpx2.Response:
    """The answer to a body."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: httpx2.Response = server.client.post(path, json=body, headers=names)
    return answer


def record_of(server: Any, uuid: str) -> dict[str, Any]:
    """A record as polling tells it."""
    return dict(server.client.get(f"/api/results/{uuid}").json()["aiRecord"])


def ended(server: Any, uuid: str) -> dict[str, Any]:
    """The record, once it has ended."""
    server.wait_until(lambda: record_of(server, uuid)["status"] != "PROCESSING")
    return record_of(server, uuid)


def test_a_blocking_call_brings_the_picture(shared_server: Any, desk: ModuleType) -> None:
    answer = post(shared_server, desk.call(seed=0, output_format="png", aspect_ratio="16:9"))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    record = answer.json()["aiRecord"]
    assert record["metadata"]["seed"] == 0
    assert (record["metadata"]["width"], record["metadata"]["height"]) == (672, 384)
    with Image.open(io.BytesIO(httpx2.get(record["temporaryUrl"]).content)) as picture:
        assert (picture.format, picture.size) == ("PNG", (672, 384))


def test_a_seed_that_was_drawn_is_told_and_draws_the_same(
    shared_server: Any, desk: ModuleType
) -> None:
    first = post(shared_server, desk.call()).json()["aiRecord"]
    seed = first["metadata"]["seed"]
    again = post(shared_server, desk.call(seed=seed)).json()["aiRecord"]
    files = [httpx2.get(record["temporaryUrl"]).headers["etag"] for record in (first, again)]
    assert "seed" not in first["aiRecordDetail"]["promptObject"]
    assert files[0] == files[1]


def test_an_asynchronous_call_answers_at_once_and_is_polled(
    slow_server: Any, desk: ModuleType
) -> None:
    answer = post(slow_server, desk.call() | {"async": True})
    assert answer.status_code == 200
    record = answer.json()["aiRecord"]
    assert record["status"] == "PROCESSING"
    assert record["aiRecordDetail"]["resultObject"] == []
    assert record["temporaryUrl"] is None
    done = ended(slow_server, record["uuid"])
    assert done["status"] == "SUCCESS"
    assert httpx2.get(done["temporaryUrl"]).status_code == 200


def test_a_preference_for_asynchrony_is_accepted(slow_server: Any, desk: ModuleType) -> None:
    answer = post(slow_server, desk.call(), Prefer="respond-async")
    uuid = answer.json()["aiRecord"]["uuid"]
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/api/records/{uuid}"
    ended(slow_server, uuid)


def test_a_wait_that_is_up_answers_202(slow_server: Any, desk: ModuleType) -> None:
    answer = post(slow_server, desk.call(num_inference_steps=20), Prefer="wait=0")
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    assert answer.json()["aiRecord"]["status"] == "PROCESSING"
    assert ended(slow_server, answer.json()["aiRecord"]["uuid"])["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("sent", "at_once", "wait"),
    [
        ([], False, None),
        (["respond-async, wait=10"], True, 10.0),
        (["wait=5", "Respond-Async"], True, 5.0),
        (['wait="7"; foo=1, handling=lenient'], False, 7.0),
        (["wait=soon"], False, None),
        (["depth-noroot"], False, None),
        (["a" * 30_000], False, None),
        (["a" * 30_000 + ", respond-async"], True, None),
        ([", ,wait=5, "], False, 5.0),
        (["wait=5; " + "a" * MAX_PREFERENCE], False, None),
    ],
)
def test_preferences_are_read_and_what_is_unknown_is_passed_over(
    sent: list[str], at_once: bool, wait: float | None
) -> None:
    headers = [(b"prefer", each.encode()) for each in sent]
    assert Preference.of(Request({"type": "http", "headers": headers})) == Preference(at_once, wait)


def test_the_same_key_leads_to_the_same_record(shared_server: Any, desk: ModuleType) -> None:
    body = desk.call("twice")
    first = post(shared_server, body, Idempotency_Key="same-1")
    again = post(shared_server, body, Idempotency_Key='"same-1"')
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["aiRecord"]["uuid"] == first.json()["aiRecord"]["uuid"]
    other = post(shared_server, desk.call("thrice"), Idempotency_Key="same-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_the_same_key_at_the_same_time_makes_one_record(slow_server: Any, desk: ModuleType) -> None:
    body = desk.call("at once") | {"async": True}
    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(post, slow_server, body, Idempotency_Key="same-2") for _ in range(16)]
        answers = [each.result() for each in sent]
    assert {answer.status_code for answer in answers} == {200}
    uuids = {answer.json()["aiRecord"]["uuid"] for answer in answers}
    assert len(uuids) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 15
    ended(slow_server, uuids.pop())


def test_a_refusal_is_told_with_its_record(shared_server: Any, desk: ModuleType) -> None:
    answer = post(shared_server, desk.call("[refuse] a red apple"))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "content_moderated"
    assert problem["context"] == {"stage": "input", "category": "test"}
    record = record_of(shared_server, problem["uuid"])
    assert record["status"] == "FAILURE"
    assert record["metadata"]["error"]["code"] == "content_moderated"
    assert problem["instance"] == f"/api/records/{problem['uuid']}"


def test_whoever_waits_is_told_of_a_cancel(slow_server: Any, desk: ModuleType) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            post, slow_server, desk.call("to be canceled", num_inference_steps=50)
        )
        uuid = slow_server.wait_until(lambda: found(slow_server, "to be canceled"))
        slow_server.client.post(f"/api/records/{uuid}/cancel")
        answer = waiting.result()
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["uuid"] == uuid


def test_a_client_that_goes_away_cancels_nothing(slow_server: Any, desk: ModuleType) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        slow_server.client.post(PATH, json=desk.call("left alone"), timeout=0.3)
    uuid = slow_server.wait_until(lambda: found(slow_server, "left alone"))
    assert ended(slow_server, uuid)["status"] == "SUCCESS"


def found(server: Any, search: str) -> str:
    """The newest record with that prompt; "" if there is none yet."""
    records = server.client.get("/api/records", params={"search": search}).json()["records"]
    return str(records[0]["uuid"]) if records else ""


def test_a_stream_tells_the_whole_story(slow_server: Any, desk: ModuleType) -> None:
    answer = post(slow_server, desk.call(), f"{PATH}?isStreaming=true", Accept_Encoding="gzip, br")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    assert "content-encoding" not in answer.headers
    events = desk.parsed(answer.content)
    assert [int(event["id"]) for event in events] == list(range(1, len(events) + 1))
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("queued", "completed")
    assert {"started", "progress", "preview"} <= set(kinds)
    steps = [event["data"] for event in events if event["data"].get("stage") == "drawing"]
    assert steps[-1]["step"] == steps[-1]["steps"] == 4
    record = events[-1]["data"]["aiRecord"]
    assert answer.headers["location"] == f"/api/records/{record['uuid']}"
    assert httpx2.get(record["temporaryUrl"]).status_code == 200


@pytest.mark.parametrize("said", ["true", "1", "YES", "on", "t", "y"])
def test_a_stream_says_that_async_has_no_effect_on_it(
    shared_server: Any, desk: ModuleType, said: str
) -> None:
    body = desk.call() | {"async": True}
    answer = post(shared_server, body, f"{PATH}?isStreaming={said}", Prefer="respond-async")
    assert answer.status_code == 200
    assert "preference-applied" not in answer.headers
    record = desk.parsed(answer.content)[-1]["data"]["aiRecord"]
    assert any(text.startswith("async has no effect") for text in record["metadata"]["warnings"])


@pytest.mark.parametrize("said", ["false", "0", "off"])
def test_where_nothing_streams_async_has_its_effect(
    shared_server: Any, desk: ModuleType, said: str
) -> None:
    answer = post(shared_server, desk.call() | {"async": True}, f"{PATH}?isStreaming={said}")
    warnings = answer.json()["aiRecord"]["metadata"]["warnings"]
    assert not any(text.startswith("async") for text in warnings)


def test_is_streaming_false_is_as_if_it_were_not_there(
    shared_server: Any, desk: ModuleType
) -> None:
    answer = post(shared_server, desk.call(), f"{PATH}?isStreaming=false")
    assert answer.json()["aiRecord"]["status"] == "SUCCESS"


@pytest.mark.parametrize(("wanted", "comes"), [(True, True), (False, False)])
def test_previews_come_when_they_are_asked_for(
    slow_server: Any, desk: ModuleType, wanted: bool, comes: bool
) -> None:
    answer = post(slow_server, desk.call() | {"preview": wanted}, f"{PATH}?isStreaming=true")
    kinds = [event["event"] for event in desk.parsed(answer.content)]
    assert ("preview" in kinds) is comes


def test_references_come_as_bytes_as_keys_and_as_links(
    shared_server: Any, desk: ModuleType
) -> None:
    client = shared_server.client
    uploaded = client.post("/api/assets", files={"asset": ("a.png", desk.picture(160, 96))})
    drawn = post(shared_server, desk.call()).json()["aiRecord"]
    uri = "data:image/png;base64," + base64.b64encode(desk.picture()).decode()
    for source in (
        uploaded.json()["fileContent"]["path"],
        uploaded.json()["asset"]["location"],
        uri,
        drawn["temporaryUrl"],
        drawn["aiRecordDetail"]["resultObject"][0],
    ):
        body = desk.call(imageUrl=source) | {"type": "IMAGE_EDITOR"}
        answer = post(shared_server, body)
        assert answer.status_code == 200, (source[:40], answer.text)
        record = answer.json()["aiRecord"]
        is_data = source.startswith("data:")
        echoed = record["aiRecordDetail"]["promptObject"]["imageUrl"]
        assert echoed == source or (is_data and len(echoed) < 200)


@pytest.mark.parametrize(
    "source", ["images/none.png", "http://127.0.0.1:9/a.png", "data:image/png;base64,QUJD"]
)
def test_a_reference_that_cannot_be_had_is_named(
    shared_server: Any, desk: ModuleType, source: str
) -> None:
    answer = post(shared_server, desk.call(imageUrl=source))
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "#/promptObject/imageUrl"


def test_what_stands_in_the_address_and_is_not_known_there_is_named(
    shared_server: Any, desk: ModuleType
) -> None:
    answer = shared_server.client.post(
        PATH + "?async=true&isStreamin=true&isStreaming=false",
        json=desk.call(),
        headers={"API-KEY": shared_server.add_key()},
    )
    said = answer.json()["aiRecord"]["metadata"]["warnings"]
    assert any(
        text == '"async" was ignored: it stands in the address and belongs in the body'
        for text in said
    )
    assert any("isStreamin" in text and "did you mean" in text for text in said)
    assert not any(text.startswith('"isStreaming"') for text in said)


def test_safety_that_may_not_be_switched_off_stays_on_and_says_so(
    shared_server: Any, desk: ModuleType
) -> None:
    body = desk.call(disable_safety_checker=True)
    headers = {"API-KEY": shared_server.add_key()}
    record = shared_server.client.post(PATH, json=body, headers=headers).json()["aiRecord"]
    assert record["metadata"]["safety"]["checked"] is True
    assert any("disable_safety_checker" in said for said in record["metadata"]["warnings"])
    headers = {"API-KEY": shared_server.add_key(allow_unsafe=True)}
    record = shared_server.client.post(PATH, json=body, headers=headers).json()["aiRecord"]
    assert record["metadata"]["safety"]["checked"] is False


def test_a_key_is_told_its_rate_and_when_it_is_used_up(
    shared_server: Any, desk: ModuleType
) -> None:
    headers = {"API-KEY": shared_server.add_key(rate=2.0)}
    answers = [shared_server.client.post(PATH, json=desk.call(), headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"create";q=2;w=60'
    assert answers[0].headers["ratelimit"].startswith('"create";r=1;t=')
    assert answers[2].json()["code"] == "rate_limited"
    assert int(answers[2].headers["retry-after"]) >= 1


def test_a_refused_call_is_counted_and_told_what_is_left(
    shared_server: Any, desk: ModuleType
) -> None:
    headers = {"API-KEY": shared_server.add_key(rate=9.0)}
    answer = shared_server.client.post(PATH, json=desk.call(guidance=99), headers=headers)
    assert answer.status_code == 400
    assert answer.headers["ratelimit"].startswith('"create";r=8;t=')


def test_a_share_that_is_full_is_told_when_to_come_back(slow_server: Any, desk: ModuleType) -> None:
    headers = {"API-KEY": slow_server.add_key(share=1)}
    body = desk.call("[slow]", num_inference_steps=50) | {"async": True}
    answers = [slow_server.client.post(PATH, json=body, headers=headers) for _ in range(3)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert refused[-1].json()["code"] == "queue_full"
    assert int(refused[-1].headers["retry-after"]) >= 1
    for answer in answers:
        if answer.status_code == 200:
            uuid = answer.json()["aiRecord"]["uuid"]
            slow_server.client.post(f"/api/records/{uuid}/cancel", headers=headers)


def test_of_calls_that_come_together_those_beyond_the_queue_are_refused_at_once(
    shared_server: Any, desk: ModuleType
) -> None:
    headers = {"API-KEY": shared_server.add_key(share=20)}
    body = desk.call() | {"async": True}
    assert shared_server.client.post(PATH, json=body, headers=headers).status_code == 200

    def ask(_: int) -> httpx2.Response:
        return httpx2.post(shared_server.url + PATH, json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(40) as callers:
        with closing(sqlite3.connect(shared_server.folder / "linocut.db")) as database:
            database.execute("BEGIN IMMEDIATE")  # nobody's request can be decided
            calls = [callers.submit(ask, number) for number in range(40)]
            shared_server.wait_until(lambda: sum(call.done() for call in calls) >= 20)
            refused = [call.result() for call in calls if call.done()]
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in refused] == [429] * 20
    assert {answer.json()["code"] for answer in refused} == {"queue_full"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert sum(answer.status_code == 200 for answer in answers) == 20


def test_what_no_day_s_quota_would_pay_for_is_refused_for_good(
    shared_server: Any, desk: ModuleType
) -> None:
    headers = {"API-KEY": shared_server.add_key(quota_seconds=0.001)}
    answer = shared_server.client.post(PATH, json=desk.call(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "retry-after" not in answer.headers


def test_a_key_that_may_only_read_draws_nothing(shared_server: Any, desk: ModuleType) -> None:
    headers = {"API-KEY": shared_server.add_key(scopes=("read",))}
    answer = shared_server.client.post(PATH, json=desk.call(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
