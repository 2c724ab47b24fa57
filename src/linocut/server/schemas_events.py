"""What is told of a record while it goes on and when it has ended, for OpenAPI: streams, webhooks.

A stream's schema is that of one event, whose lines are its members: as OpenAPI 3.2 has it for
`itemSchema`, and as tools read `schema` before that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linocut.jobs.record import ENDINGS
from linocut.server.streams import MEDIA_TYPE, RETRY_MS

__all__ = ["EVENT", "MEDIA_TYPE", "SCHEMAS", "WEBHOOKS"]

Schema = dict[str, Any]
JSON: Final = "application/json"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(about: str, **more: Any) -> Schema:
    return {"type": "string", "description": about, **more}


def _whole(about: str, least: int = 1, **more: Any) -> Schema:
    return {"type": "integer", "minimum": least, "description": about, **more}


def _seconds(about: str) -> Schema:
    return {"type": "number", "minimum": 0, "description": about}


def _object(about: str, fields: Mapping[str, Schema], *needed: str, **more: Any) -> Schema:
    """An object of these members; `needed` are always there."""
    return {
        "type": "object", "description": about, "required": [*needed],
        "properties": dict(fields), **more,
    }  # fmt: skip


def _data(about: str, *optional: str, is_open: bool = False, **fields: Schema) -> Schema:
    """An event's data: the record's `uuid`, and these fields."""
    needed = ["uuid", *(name for name in fields if name not in optional)]
    whole = {"uuid": _text("The record's."), **fields}
    return _object(about, whole, *needed, additionalProperties=is_open)


def _ending(about: str, **more: Schema) -> Schema:
    """The data of an ending. Its record may have been deleted just then."""
    record = {"aiRecord": _ref("AiRecord"), **more}
    return _data(about, *record, is_open=True, **record)


DATA: Final[Mapping[str, Schema]] = {
    "queued": _data(
        "It waits. Told without an `id`, too, when its place has changed.",
        "reason",
        place=_whole("1 is the next in turn; 0 waits no more.", 0),
        reason=_text("Why it waits again: the code of the error that ended its run, or empty."),
    ),
    "started": _data(
        "A worker draws it.",
        checkpoint=_text("What draws."),
        mode=_text("`exact`, or the fast mode that was permitted."),
        drawn_width=_whole("The size that the checkpoint draws."),
        drawn_height=_whole("Its height."),
        steps=_whole("How many there will be; 0 where picture 1 is given back.", 0),
        warnings={"type": "array", "items": {"type": "string"}},
    ),
    "progress": _data(
        "How far it is; while it is drawn with step, steps, seconds and left.",
        "step",
        "steps",
        "seconds",
        "left",
        stage=_text("What is done.", enum=["reading", "drawing", "decoding"]),
        step=_whole("The step that is done."),
        steps=_whole("Of so many."),
        seconds=_seconds("What that step took."),
        left=_seconds("What the others will take, in seconds."),
    ),
    "preview": _data(
        "What it looks like so far.",
        step=_whole("After this step."),
        width=_whole("In pixels."),
        height=_whole("In pixels."),
        image=_text("A small picture as a data URI.", pattern="^data:image/webp;base64,"),
    ),
    "completed": _ending("It is drawn; beside its record stands what the worker said of it."),
    "failed": _ending(
        "It failed; `error` is what a call that waits would have been answered.",
        error=_ref("Problem"),
    ),
    "canceled": _ending("It was canceled."),
    "shutdown": _data(
        "The server is leaving, and the record goes on: ask again behind the last `id`.",
        retry=_whole("After so many milliseconds.", examples=[RETRY_MS]),
    ),
}


def _name(kind: str) -> str:
    return f"{kind.title()}Event"


def _event() -> Schema:
    """One event, and which data goes with which name."""
    lines = {
        "id": _text("Its number in the record's story, for `Last-Event-ID`. Absent where it is "
                    "said to the moment only.", pattern="^[0-9]+$"),
        "event": _text("What happened.", enum=[*DATA]),
        "data": _text("A JSON text: `QueuedEvent` and so on, by the name of the event."),
        "retry": _whole("How many milliseconds to wait before connecting again.", 0),
    }  # fmt: skip
    content = {
        kind: {"type": "string", "contentMediaType": JSON, "contentSchema": _ref(_name(kind))}
        for kind in DATA
    }
    about = "One event of a stream: its lines, as members."
    pairs = [{"properties": {"event": {"const": k}, "data": v}} for k, v in content.items()]
    return _object(about, lines, "event", "data", oneOf=pairs)


EVENT: Final = _ref("StreamEvent")
_ENDED: Final = [f"record.{ending}" for ending in ENDINGS.values()]
SCHEMAS: Final[Mapping[str, Schema]] = {
    "StreamEvent": _event(),
    **{_name(kind): data for kind, data in DATA.items()},
    "WebhookMessage": _object(
        "What a webhook says.",
        {
            "type": _text("How the record ended.", enum=_ENDED),
            "timestamp": _text("When this was sent.", format="date-time"),
            "data": _ref("AiRecordAnswer"),
        },
        "type", "timestamp", "data", additionalProperties=False,
    ),
}  # fmt: skip


def _signed(name: str, about: str, **schema: Any) -> Schema:
    return {
        "name": name, "in": "header", "required": True, "description": about,
        "schema": {"type": "string", **schema},
    }  # fmt: skip


WEBHOOKS: Final[Schema] = {
    "recordEnded": {
        "post": {
            "operationId": "recordEnded",
            "summary": "How a record ended",
            "description": "Sent to the `webhook` of a call, for the endings that its "
            "`webhook_events_filter` names, and signed by Standard Webhooks with the secret that "
            "`linocut webhooks secret` prints. Sent again until it is answered 2xx or 410, so that "
            "it may come twice.",
            "parameters": [
                _signed("webhook-id", "The message; the same at every try."),
                _signed("webhook-timestamp", "When it was sent, in seconds since 1970.",
                        pattern="^[0-9]+$"),
                _signed("webhook-signature", "`v1,` and the HMAC-SHA256, in Base64, of id, "
                        "timestamp and body, joined by points; several are parted by blanks.",
                        pattern="^v1,"),
            ],
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": _ref("WebhookMessage")}},
            },
            "responses": {
                "2XX": {"description": "It has come; it is not sent again."},
                "410": {"description": "Nobody listens here any more; it is not sent again."},
                "default": {"description": "It is sent again, ten times at most in three days."},
            },
        }
    }
}  # fmt: skip
