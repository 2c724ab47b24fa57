"""Three ways to send a key, three things a key may do."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

BODY = {"type": "IMAGE_GENERATOR", "model": "black-forest-labs/flux-2-dev",
        "promptObject": {"prompt": "a red apple", "num_inference_steps": 1}}  # fmt: skip


def read(server: Any, **headers: str) -> httpx2.Response:
    """A call that any key may make."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.get(f"{server.url}/api/records", headers=named)


def test_a_key_is_heard_in_three_ways(shared_server: Any) -> None:
    key = shared_server.key
    assert read(shared_server, API_KEY=key).status_code == 200
    assert read(shared_server, Authorization=f"Bearer {key}").status_code == 200
    assert read(shared_server, x_key=key).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"API_KEY": "nonsense"}, {"Authorization": "Basic eDp5"}, {"API_KEY": "é"}]
)
def test_without_a_key_there_is_nothing_to_see(shared_server: Any, headers: dict[str, str]) -> None:
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    answer = httpx2.get(f"{shared_server.url}/api/records", headers=encoded)
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_api_key"
    assert "API-KEY" in answer.json()["hint"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_reads_does_not_draw(shared_server: Any) -> None:
    reader = {"API-KEY": shared_server.add_key(scopes=("read",))}
    assert read(shared_server, **reader).status_code == 200
    answer = httpx2.post(f"{shared_server.url}/api/features", json=BODY, headers=reader)
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert "needs generate" in answer.json()["message"]


def test_a_key_that_draws_reads_what_it_drew_and_nothing_of_others(shared_server: Any) -> None:
    one, other = ({"API-KEY": shared_server.add_key()} for _ in "12")
    url = shared_server.url
    drawn = httpx2.post(f"{url}/api/features", json=BODY, headers=one, timeout=60)
    uuid = drawn.json()["aiRecord"]["uuid"]
    assert httpx2.get(f"{url}/api/records/{uuid}", headers=one).status_code == 200
    assert httpx2.get(f"{url}/api/records/{uuid}", headers=other).status_code == 404


def test_a_key_has_a_rate_and_the_answers_say_so(shared_server: Any) -> None:
    key = {"API-KEY": shared_server.add_key(rate=2.0)}
    url = f"{shared_server.url}/api/features"
    answers = [httpx2.post(url, json=BODY, headers=key, timeout=60) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"create";q=2;w=60'
    assert answers[0].headers["ratelimit"].startswith('"create";r=1;t=')
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    assert answers[2].json()["code"] == "rate_limited"
