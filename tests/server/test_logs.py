"""Logs are lines that machines read, and hold nothing that is somebody's."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from linocut.server import logs
from linocut.server.keys import new_key


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    """Where JSON lines go."""
    stream = io.StringIO()
    logs.configure(stream, form="json", level="info")
    return stream


def test_a_line_is_json_with_time_level_and_name(stream: io.StringIO) -> None:
    structlog.get_logger("linocut.jobs").info("run done", record="1", seconds=0.5)
    (line,) = lines(stream)
    assert line["event"] == "run done"
    assert (line["level"], line["logger"], line["record"]) == ("info", "linocut.jobs", "1")
    assert line["timestamp"].endswith("Z")


def test_libraries_speak_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("it is %s", "late", extra={"by": 3})
    (line,) = lines(stream)
    assert (line["event"], line["by"], line["level"]) == ("it is late", 3, "warning")


def test_a_request_s_name_is_in_every_line_of_it(stream: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="abc")
    structlog.get_logger("a").info("one")
    logging.getLogger("b").info("two")
    assert [line["request_id"] for line in lines(stream)] == ["abc", "abc"]


def test_what_is_below_the_level_is_not_told(stream: io.StringIO) -> None:
    structlog.get_logger("a").debug("small")
    logging.getLogger("uvicorn.error").info("chatter")
    assert lines(stream) == []


SECRET = new_key().text


@pytest.mark.parametrize(
    "told",
    [
        {"prompt": "a red apple"},
        {"event_data": {"prompt": "a red apple", "deep": [{"prompt": "a red apple"}]}},
        {"note": f"the key {SECRET} came"},
        {"notes": (SECRET, [SECRET])},
        {"API_KEY": SECRET},
        {"link": "/files/x.png?exp=1&kid=a&sig=Abc-123_x"},
        {"webhook_secret": "whsec_c2VjcmV0c2VjcmV0"},
        {"database": "postgresql://me:hushhush@h/x"},
        {"error": "(OperationalError) no\n[SQL: SELECT]\n[parameters: ('a red apple', 1)]"},
    ],
)
def test_no_prompt_key_signature_or_password_is_logged(
    stream: io.StringIO, told: dict[str, Any]
) -> None:
    structlog.get_logger("a").info("it happened", **told)
    logging.getLogger("b").error("%s", told)
    text = stream.getvalue()
    assert len(lines(stream)) == 2
    for secret in (SECRET[14:], "Abc-123_x", "c2VjcmV0", "hushhush"):
        assert secret not in text
    assert "apple" not in text.splitlines()[0]


def test_an_error_s_trace_is_told_without_keys(stream: io.StringIO) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger("a").exception("it broke")
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
    assert SECRET not in line["exception"]


def test_a_terminal_gets_columns() -> None:
    stream = io.StringIO()
    logs.configure(stream, form="console", level="info")
    structlog.get_logger("a").info("it happened", record="1", prompt="a red apple")
    assert "it happened" in stream.getvalue()
    assert "record=1" in stream.getvalue()
    assert "apple" not in stream.getvalue()


def test_auto_is_json_where_nobody_watches() -> None:
    stream = io.StringIO()
    logs.configure(stream, form="auto", level="info")
    structlog.get_logger("a").info("it happened")
    assert lines(stream)[0]["event"] == "it happened"
