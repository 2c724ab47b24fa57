"""The request in OpenAPI: the schema and the parser say the same, and so does the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from linocut.errors import InvalidRequest
from linocut.server.dialects.features import PROMPT_FIELDS, TOP_FIELDS, parse
from linocut.server.dialects.features_schema import (
    CONTRACT_EXAMPLE,
    EDITOR_EXAMPLE,
    call,
    prompt_object,
    request_body,
)
from linocut.server.dialects.features_sources import LISTS, PICTURES
from linocut.sizes import ASPECT_RATIOS

DOCS = Path(__file__).parents[3] / "docs" / "api.md"
BODY = request_body()["requestBody"]["content"]["application/json"]
REQUEST = Draft202012Validator(BODY["schema"])
DRAFT = "https://json-schema.org/draft/2020-12/schema"
KEY = "images/2026_03_27_10_00_04_001_x7k2pq_cat.png"
DATA = "data:image/png;base64,AAAA"
SENT: tuple[tuple[dict[str, Any], bool], ...] = (
    ({}, True),
    ({"num_inference_steps": 28.0, "guidance": "3.5", "megapixels": 0.25}, True),
    ({"num_inference_steps": None, "seed": -1, "megapixels": "1.0"}, True),
    ({"seed": "-1", "output_quality": 84.6, "output_format": "jpeg"}, True),
    ({"aspect_ratio": "21:9", "go_fast": True, "unknown": [1]}, True),
    ({"aspect_ratio": "custom", "width": 640, "height": "640"}, True),
    (
        {"imageUrl": KEY, "additional_images": ["https://x/y.png", DATA]},
        True,
    ),
    ({"imageUrl": "DATA:image/PNG;Base64,AAAA"}, True),
    ({"imageUrl": "HTTPS://x/y.png"}, True),
    ({"imageUrl": "data:image/gif;base64,AAAA"}, False),
    ({"num_inference_steps": 28.5}, False),
    ({"num_inference_steps": True}, False),
    ({"num_inference_steps": "x"}, False),
    ({"num_inference_steps": 51}, False),
    ({"guidance": -1}, False),
    ({"seed": 2**53}, False),
    ({"megapixels": 2}, False),
    ({"megapixels": "2"}, False),
    ({"aspect_ratio": "7:3"}, False),
    ({"go_fast": "true"}, False),
    ({"prompt": " "}, False),
    ({"prompt": "x" * 20_001}, False),
    ({"imageUrl": "/etc/passwd"}, False),
    ({"additional_images": KEY}, False),
)


def is_read(body: dict[str, Any]) -> bool:
    """Whether the parser takes it."""
    try:
        parse(body)
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize(("sent", "is_valid"), SENT, ids=range(len(SENT)))
def test_the_schema_and_the_parser_say_the_same(sent: dict[str, Any], is_valid: bool) -> None:
    for example in (CONTRACT_EXAMPLE, EDITOR_EXAMPLE):
        body = {**example, "promptObject": {**example["promptObject"], **sent}}
        assert REQUEST.is_valid(body) is is_read(body) is is_valid


@pytest.mark.parametrize(
    ("top", "is_valid"),
    [
        ({"async": True, "preview": False, "webhook": None}, True),
        ({"webhook": "https://x/y", "webhook_events_filter": ["failed"]}, True),
        ({"unknown": 1}, True),
        ({"model": "black-forest-labs/FLUX.2-dev"}, True),
        ({"model": "flux-2-pro"}, False),
        ({"async": 1}, False),
        ({"webhook": "nowhere"}, False),
        ({"webhook_events_filter": []}, False),
        ({"webhook_events_filter": ["started"]}, False),
        ({"type": "CHAT"}, False),
        ({"promptObject": []}, False),
    ],
)
def test_both_say_the_same_of_the_rest(top: dict[str, Any], is_valid: bool) -> None:
    body = CONTRACT_EXAMPLE | top
    assert REQUEST.is_valid(body) is is_read(body) is is_valid


@pytest.mark.parametrize("name", ["type", "model", "promptObject"])
def test_both_require_the_same(name: str) -> None:
    body = {field: value for field, value in CONTRACT_EXAMPLE.items() if field != name}
    assert not REQUEST.is_valid(body)
    assert not is_read(body)


@pytest.mark.parametrize("name", PICTURES)
def test_both_take_the_editors_picture_under_every_name(name: str) -> None:
    sent = {"prompt": "x", "imageUrl": None, name: [KEY] if name in LISTS else KEY}
    body = EDITOR_EXAMPLE | {"promptObject": sent}
    assert REQUEST.is_valid(body) is is_read(body) is True


def test_every_documented_field_is_described_and_no_other() -> None:
    for edits in (False, True):
        extension = {"width", "height"}
        assert set(prompt_object(edits=edits)["properties"]) == {*PROMPT_FIELDS} | extension
        assert set(call(edits=edits)["properties"]) == {*TOP_FIELDS}


def test_the_examples_are_valid() -> None:
    assert meta.is_valid({"$schema": DRAFT} | BODY["schema"])
    for example in BODY["examples"].values():
        assert REQUEST.is_valid(example["value"])
        assert is_read(example["value"])


def test_the_page_of_the_api_sends_what_is_read() -> None:
    page = DOCS.read_text(encoding="utf-8")
    sent = [json.loads(text) for text in re.findall(r"--data '(\{.*?\})'", page, re.DOTALL)]
    assert CONTRACT_EXAMPLE in sent
    assert {body["type"] for body in sent} == {"IMAGE_GENERATOR", "IMAGE_EDITOR"}
    for body in sent:
        assert REQUEST.is_valid(body)
        assert parse(body).warnings == ()


def test_the_page_of_the_api_names_every_field_with_its_default() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name in (*TOP_FIELDS, *PROMPT_FIELDS, *LISTS):
        assert f"`{name}`" in page
    for aspect, (width, height) in ASPECT_RATIOS.items():
        row = f"| `{aspect}` | {width} x {height} | {width // 2} x {height // 2} |"
        assert row in page
    for name, schema in prompt_object(edits=False)["properties"].items():
        if isinstance(schema.get("default"), int | float | bool):
            default = json.dumps(schema["default"])
            assert re.search(rf"\| `{name}` \|.*\| `?{re.escape(default)}`? \|", page), name
