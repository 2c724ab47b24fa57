"""Errors over HTTP: every class has a row, every answer is whole, nothing wrong is echoed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, HTTPException, Query
from starlette.requests import Request
from starlette.testclient import TestClient

from linocut import errors
from linocut.errors import LinocutError, kinds, of_stored, to_stored
from linocut.server.idempotency import HEADER
from linocut.server.limits import Allowance, TooManyRequests
from linocut.server.problems import (
    ALL_CODES,
    MEDIA_TYPE,
    TABLE,
    headers_of,
    problem,
    register,
    status_of,
)
from linocut.server.schemas import Problem

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
TREE = tuple(kinds().values())
OWN: dict[type[LinocutError], dict[str, Any]] = {
    errors.ContentRefused: {"stage": "output", "category": "sexual"},
    **{kind: {"retry_after": 7.2} for kind in TREE if issubclass(kind, errors.Later)},
}
STATUSES = {
    "invalid_request": 400, "invalid_body": 400, "unsupported_model": 400, "invalid_picture": 400,
    "content_moderated": 400, "does_not_fit": 400, "invalid_api_key": 401, "forbidden": 403,
    "not_found": 404, "method_not_allowed": 405, "conflict": 409, "payload_too_large": 413,
    "unsupported_media_type": 415, "idempotency_mismatch": 422, "rate_limited": 429,
    "queue_full": 429, "quota_exceeded": 429, "worker_failed": 500, "output": 500, "internal": 500,
    "service": 500, "later": 503, "unavailable": 503, "storage_unavailable": 503,
    "checkpoint": 503, "checkpoint_not_found": 503, "checkpoint_invalid": 503,
    "download_refused": 503, "check_failed": 500,
}  # fmt: skip


def made(kind: type[LinocutError], message: str = "what happened") -> LinocutError:
    """One of this kind."""
    return kind(message, hint="what to do", **OWN.get(kind, {}))


def body_of(error: LinocutError) -> dict[str, Any]:
    """Its problem."""
    return problem(error, request_id="r-1", instance="/api/features")


def test_every_class_of_the_tree_has_a_row() -> None:
    assert set(TABLE) == set(TREE)
    assert {code: row.status for code, row in ALL_CODES.items()} == STATUSES


def test_every_code_is_documented_with_its_status_and_its_sentence() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for code, row in ALL_CODES.items():
        assert f"| `{code}` | {row.status} | {row.title} |" in page
    assert page.count("| `", page.index("| code |"), page.index("<!-- end of codes -->")) == len(
        ALL_CODES
    )


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_problem_has_every_member_that_clients_look_for(kind: type[LinocutError]) -> None:
    error = made(kind)
    found = body_of(error)
    Problem.model_validate_json(json.dumps(found))
    assert found["status"] == status_of(error) == STATUSES[kind.code]
    assert found["code"] == kind.code
    assert found["type"].endswith(kind.code)
    assert found["errorCode"] == found["error"]["code"] == kind.code.upper()
    said = (found["detail"], found["message"], found["error"]["message"])
    assert set(said) == {"what happened"}
    assert (found["hint"], found["request_id"], found["success"]) == ("what to do", "r-1", False)
    assert isinstance(found["details"], str)
    json.loads(found["details"])


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_a_stored_error_is_answered_as_the_first_one(kind: type[LinocutError]) -> None:
    error = made(kind)
    again = of_stored(json.loads(json.dumps(to_stored(error))))
    assert type(again) is kind
    assert body_of(again) == body_of(error)


def test_an_error_of_a_worker_keeps_its_parents_row() -> None:
    class Lost(errors.WorkerFailed):
        """A subclass that the table does not know."""

    assert status_of(Lost("gone")) == 500
    assert of_stored(to_stored(Lost("gone"))).code == "worker_failed"


def test_what_was_stored_by_another_version_is_still_an_error() -> None:
    assert type(of_stored({"code": "from_the_future", "message": "m"})) is LinocutError
    assert of_stored({}).message == ""


def test_all_wrong_fields_are_told_with_their_pointers() -> None:
    wrong = [("#/promptObject/seed", "seed=true: no"), ("#/type", "type is required")]
    found = body_of(errors.InvalidRequest("2 fields are wrong", fields=wrong))
    assert [(each["pointer"], each["message"]) for each in found["errors"]] == wrong
    assert [each["field"] for each in json.loads(found["details"])] == ["seed", "type"]


@pytest.mark.parametrize(
    ("field", "pointer"),
    [
        ("width", "#/width"),
        ("#/a/0", "#/a/0"),
        ("search", "query:search"),
        ("cursor", "query:cursor"),
        ("Range", "header:Range"),
        ("Last-Event-ID", "header:Last-Event-ID"),
        (HEADER, "header:Idempotency-Key"),
    ],
)
def test_a_single_field_has_a_pointer_too(field: str, pointer: str) -> None:
    found = body_of(errors.InvalidRequest("width=3", field=field))
    assert found["errors"] == [{"pointer": pointer, "message": "width=3"}]


def test_a_refusal_tells_its_stage_and_category() -> None:
    found = body_of(made(errors.ContentRefused))
    assert found["context"] == {"stage": "output", "category": "sexual"}
    assert json.loads(found["details"]) == found["context"]


def test_later_says_when_in_whole_seconds_and_a_missing_key_says_how() -> None:
    assert headers_of(made(errors.QueueFull)) == {"Retry-After": "8"}
    assert headers_of(errors.RateLimited("m", retry_after=0.0)) == {"Retry-After": "1"}
    assert headers_of(errors.Later("m", retry_after=1e30))["Retry-After"] == "86400"
    assert headers_of(made(errors.InvalidKey))["WWW-Authenticate"].startswith("Bearer")
    assert headers_of(made(errors.NotFound)) == {}


def test_a_rate_that_is_used_up_says_which_and_when_it_is_back() -> None:
    allowance = Allowance(limit=60, remaining=0, reset=1.5)
    assert headers_of(TooManyRequests("m", retry_after=0.2, allowance=allowance)) == {
        "Retry-After": "1",
        "RateLimit-Policy": '"create";q=60;w=60',
        "RateLimit": '"create";r=0;t=2',
    }


def test_a_message_that_cannot_be_sent_is_made_sendable() -> None:
    found = body_of(errors.InvalidRequest("\ud800" + "x" * 9000, field="\udfff"))
    json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    assert len(found["detail"]) <= 2000


@pytest.fixture
def client() -> TestClient:
    """An app that raises."""
    app = FastAPI()
    register(app)

    @app.middleware("http")
    async def _name(request: Request, go_on: Any) -> Any:
        request.state.request_id = "r-7"
        return await go_on(request)

    @app.get("/raise/{code}")
    async def _raise(code: str) -> None:
        raise made(kinds()[code])

    @app.get("/crash")
    @app.get("/crash/{name}")
    async def _crash() -> None:
        raise ZeroDivisionError("a secret of the house")

    @app.get("/number")
    async def _number(limit: Annotated[int, Query(ge=1)]) -> int:
        return limit

    @app.get("/status/{status}")
    async def _status(status: int) -> None:
        raise HTTPException(status, "in words", headers={"X-Own": "kept"})

    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("code", ALL_CODES)
def test_every_code_is_reachable_over_http(client: TestClient, code: str) -> None:
    answer = client.get(f"/raise/{code}")
    assert answer.status_code == ALL_CODES[code].status
    assert answer.headers["content-type"] == MEDIA_TYPE
    found = Problem.model_validate_json(answer.content)
    assert (found.code, found.request_id, found.instance) == (code, "r-7", f"/raise/{code}")
    assert ("retry-after" in answer.headers) == (issubclass(kinds()[code], errors.Later))


def test_an_address_that_is_not_there_is_a_problem(client: TestClient) -> None:
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "GET /nowhere" in answer.json()["detail"]


def test_another_method_is_told_the_right_one(client: TestClient) -> None:
    answer = client.post("/crash")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
    assert answer.json()["hint"] == "use GET"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_request"), (413, "payload_too_large"), (418, "invalid_request"),
     (401, "invalid_api_key"), (502, "internal")],
)  # fmt: skip
def test_what_the_framework_refuses_keeps_its_status_and_headers(
    client: TestClient, status: int, code: str
) -> None:
    answer = client.get(f"/status/{status}")
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert (answer.json()["code"], answer.json()["detail"]) == (code, "in words")
    assert answer.headers["x-own"] == "kept"


@pytest.mark.parametrize("value", ["xyzzy", "", "0", "1e999", "NaN", "%00", "%ed%a0%80"])
def test_a_wrong_query_is_a_400_without_the_input(client: TestClient, value: str) -> None:
    answer = client.get(f"/number?limit={value}")
    assert answer.status_code == 400
    found = answer.json()
    assert found["code"] == "invalid_request"
    assert found["errors"][0]["pointer"] == "query:limit"
    assert "xyzzy" not in answer.text


def test_what_nobody_expected_is_a_clean_500_and_is_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/crash/words_of_a_prompt")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert "r-7" in answer.json()["hint"]
    assert "secret" not in answer.text
    record = next(each for each in caplog.records if each.name == "linocut.server")
    assert "GET /crash/{name}" in record.getMessage()
    assert "words_of_a_prompt" not in caplog.text
    assert record.exc_info
    assert isinstance(record.exc_info[1], ZeroDivisionError)
    assert vars(record)["request_id"] == "r-7"
