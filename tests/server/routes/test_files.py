"""Signed links: the picture as it was stored, in pieces too, for whoever holds the link."""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.server.routes.files import Span, span_of


@pytest.fixture(scope="module")
def link(shared_server: Any, desk: ModuleType) -> str:
    """A link to a picture."""
    body = desk.call("a file", output_format="png")
    answer = shared_server.client.post("/api/features", json=body)
    return str(answer.json()["aiRecord"]["temporaryUrl"])


@pytest.fixture(scope="module")
def whole(link: str) -> bytes:
    """What lies behind it."""
    return httpx2.get(link).content


def test_a_picture_is_served_as_nothing_but_a_picture(link: str, whole: bytes) -> None:
    answer = httpx2.get(link)
    name = link.partition("?")[0].rpartition("/")[2]
    headers = answer.headers
    assert answer.status_code == 200
    assert headers["content-type"] == "image/png"
    assert headers["content-disposition"] == f'inline; filename="{name}"'
    assert headers["etag"] == f'"{hashlib.sha256(whole).hexdigest()}"'
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"].startswith("private, max-age=")
    assert headers["accept-ranges"] == "bytes"


def test_a_head_says_what_a_get_says_and_brings_nothing(link: str, whole: bytes) -> None:
    got, head = httpx2.get(link), httpx2.head(link)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole))
    varies = {"date", "x-request-id", "cache-control"}
    assert {name: value for name, value in head.headers.items() if name not in varies} == {
        name: value for name, value in got.headers.items() if name not in varies
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-9", 0, 10), ("10-", 10, None), ("-7", -7, None), ("5-999999", 5, None), ("0-0", 0, 1)],
)
def test_a_range_is_served(
    link: str, whole: bytes, asked: str, start: int, end: int | None
) -> None:
    piece = whole[start:end]
    answer = httpx2.get(link, headers={"Range": f"bytes={asked}"})
    assert (answer.status_code, answer.content) == (206, piece)
    first = start % len(whole)
    said = f"bytes {first}-{first + len(piece) - 1}/{len(whole)}"
    assert answer.headers["content-range"] == said
    head = httpx2.head(link, headers={"Range": f"bytes={asked}"})
    assert (head.status_code, head.headers["content-range"]) == (206, said)


@pytest.mark.parametrize("asked", ["999999-", "-0"])
def test_a_range_outside_is_416(link: str, whole: bytes, asked: str) -> None:
    answer = httpx2.get(link, headers={"Range": f"bytes={asked}"})
    assert answer.status_code == answer.json()["status"] == 416
    assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "bytes=9-1", "pages=1-2", "bytes=-", "x"])
def test_a_range_that_is_not_understood_is_no_range(link: str, whole: bytes, asked: str) -> None:
    answer = httpx2.get(link, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, whole)


@given(st.integers(1, 50), st.text("0123456789-,= bytes", max_size=12).map("bytes=".__add__))
def test_every_range_lies_within_the_file(size: int, text: str) -> None:
    span = span_of(text, size)
    assert span is None or 0 <= span.start < span.end <= size
    assert span_of("", size) == Span(0, size, size)


def test_what_is_known_is_not_sent_again(link: str, whole: bytes) -> None:
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = httpx2.get(link, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert httpx2.get(link, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_range_of_another_file_is_the_whole(link: str, whole: bytes) -> None:
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'
    for condition, status in ((etag, 206), ('"other"', 200)):
        headers = {"Range": "bytes=0-3", "If-Range": condition}
        assert httpx2.get(link, headers=headers).status_code == status


@pytest.mark.parametrize("name", ["exp", "kid", "sig", "key", "all"])
def test_a_link_that_was_changed_opens_nothing(link: str, name: str) -> None:
    path, _, query = link.partition("?")
    values = dict(parse_qsl(query))
    if name in values:
        values[name] = ("1" if values[name][0] != "1" else "2") + values[name][1:]
    changed = path[:-5] + ("b" if path[-5] != "b" else "c") + path[-4:] if name == "key" else path
    answer = httpx2.get(f"{changed}?{'' if name == 'all' else urlencode(values)}")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_an_api_key_opens_nothing_without_a_signature(shared_server: Any, link: str) -> None:
    assert shared_server.client.get(link.partition("?")[0]).status_code == 403


def test_a_link_expires(running_server: Any, desk: ModuleType) -> None:
    server = running_server(LINOCUT_LINK_SECONDS="1")
    record = server.client.post("/api/features", json=desk.call()).json()["aiRecord"]
    server.wait_until(lambda: httpx2.get(record["temporaryUrl"]).status_code == 403)
    assert "expired" in httpx2.get(record["temporaryUrl"]).json()["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_link_is_for_reading(link: str, method: str) -> None:
    assert httpx2.request(method, link).status_code == 405
