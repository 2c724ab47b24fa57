"""A stored record as the contract's `aiRecord`, and the list of models in the hosted shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from linocut.jobs.record import Record, State
from linocut.repertoire import Repertoire
from linocut.server.body import JsonObject
from linocut.server.dialects.features import FEATURES, MODEL, MODELS

SHOWN_STATES: Final = {state: state.value for state in State} | {State.QUEUED: "PROCESSING"}


@dataclass(frozen=True, slots=True)
class Waiting:
    """How an open record stands: `place` 1 is next, 0 is drawn; `seconds`: about what is left."""

    place: int
    seconds: float | None = None


def ai_record(
    record: Record,
    *,
    temporary_url: str | None = None,
    waiting: Waiting | None = None,
    kept_until: float | None = None,
    kept_while_room: bool = False,
) -> JsonObject:
    """The inner object of `{"aiRecord": …}`; times as the contract writes them."""
    return {
        "uuid": record.id,
        "model": record.model,
        "type": record.feature,
        "status": SHOWN_STATES[record.state],
        "createdAt": moment(record.created_at),
        "metadata": {
            **_metadata(record, waiting),
            "kept_until": _moment(kept_until),
            "kept_while_room": kept_while_room,
        },
        "aiRecordDetail": {
            "promptObject": record.body.get("promptObject", {}),
            "resultObject": list(record.result_keys),
        },
        "temporaryUrl": temporary_url,
    }


def models(
    feature: str = "", *,
    checkpoint: str = "", demo: bool = False, repertoire: Repertoire | None = None,
) -> JsonObject:  # fmt: skip
    """`{"models": […]}`; an unknown feature has none. checkpoint: the one that draws, if known."""
    served = {
        "modelId": MODEL,
        "name": "FLUX.2 [dev]",
        "provider": "Black Forest Labs",
        "status": "ACTIVE",
        "features": list(FEATURES),
        "modality": {"INPUT": ["TEXT", "IMAGE"], "OUTPUT": ["IMAGE"]},
        "creditMetadata": None,
        "aliases": [name for name in MODELS if name != MODEL],
        "checkpoint": checkpoint or None,
        "demo": demo,
        "repertoire": repertoire
        and {
            "things": repertoire.by_group,
            "styles": list(repertoire.styles),
            "backgrounds": list(repertoire.backgrounds),
        },
    }
    return {"models": [served] if feature in ("", *FEATURES) else []}


def moment(seconds: float) -> str:
    """Seconds since 1970 as "2026-03-27T10:00:00.000Z"."""
    milliseconds = round(seconds * 1000)
    time = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03}Z"


def _metadata(record: Record, waiting: Waiting | None) -> dict[str, Any]:
    """What is known so far; everything that the worker told, once it is drawn."""
    request, result = record.order.request, record.result
    known: dict[str, Any] = {
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "safety": {"checked": record.order.check_safety},
        **result,
        "warnings": _warnings(record.order.warnings, result),
        "queue": {
            "place": waiting.place if waiting else None,
            "seconds_left": _rounded(waiting.seconds) if waiting else None,
            "seconds_waited": _waited(record),
        },
        "started_at": _moment(record.started_at),
        "finished_at": _moment(record.finished_at),
        "starred": record.starred,
    }
    if record.state is State.FAILURE:
        error = record.error or {}
        known["error"] = {name: error.get(name, "") for name in ("code", "message", "hint")}
    return known


def _warnings(mine: tuple[str, ...], result: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys((*mine, *result.get("warnings", ()))))


def _waited(record: Record) -> float | None:
    started = record.started_at
    return None if started is None else _rounded(max(0.0, started - record.created_at))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)
