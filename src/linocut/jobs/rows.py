"""From values to rows and back. What an older version wrote can still be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Row

from linocut.jobs.clock import seconds, seconds_or_none
from linocut.jobs.record import Order, Record, RecordEvent, State, StoredFile
from linocut.jobs.terms import ApiKey
from linocut.request import ImageRequest

Fields = Mapping[str, Any]


def fold(text: str) -> str:
    """The text without case and without the choice between equal spellings, for searching."""
    return unicodedata.normalize("NFKC", text).casefold()


def plan_of(order: Order) -> dict[str, Any]:
    """An order as JSON; its references are keys."""
    plan = {field.name: getattr(order, field.name) for field in fields(order)}
    wanted = {field.name: getattr(order.request, field.name) for field in fields(ImageRequest)}
    del wanted["references"]
    return plan | {"request": wanted}


def order_of(plan: Fields) -> Order:
    """The order again; what an order does not have any more is left out."""
    known = {field.name for field in fields(Order)}
    wanted = {field.name for field in fields(ImageRequest)}
    request = ImageRequest(**{k: v for k, v in plan["request"].items() if k in wanted})
    said: dict[str, Any] = {k: v for k, v in plan.items() if k in known}
    said |= {k: tuple(v) for k, v in said.items() if isinstance(v, list)}
    return Order(**(said | {"request": request}))


def record_of(row: Row[Any]) -> Record:
    """A record."""
    return Record(
        id=row.id,
        tenant=row.tenant,
        key_id=row.key_id,
        feature=row.feature,
        model=row.model,
        state=State(row.state),
        body=row.body,
        order=order_of(row.plan),
        estimate=seconds(row.estimate),
        attempt=row.attempt,
        fence=row.fence,
        starred=row.starred,
        created_at=seconds(row.created_at),
        started_at=seconds_or_none(row.started_at),
        finished_at=seconds_or_none(row.finished_at),
        seconds=seconds(row.paid or 0),
        result_keys=tuple(row.result_keys),
        result=row.result,
        error=row.error,
    )


def event_of(row: Row[Any]) -> RecordEvent:
    """A line of a record's story."""
    return RecordEvent(
        record_id=row.record_id, seq=row.seq, kind=row.kind, data=row.data, at=seconds(row.at)
    )


def file_of(row: Row[Any]) -> StoredFile:
    """A file."""
    values = {field.name: getattr(row, field.name) for field in fields(StoredFile)}
    return StoredFile(**(values | {"created_at": seconds(row.created_at)}))


def row_of_file(file: StoredFile) -> dict[str, Any]:
    """A file's columns, but for its times, which the database sets."""
    values = asdict(file)
    del values["created_at"]
    return values


def key_of(row: Row[Any]) -> ApiKey:
    """A key."""
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        digest=row.digest,
        scopes=tuple(row.scopes),
        rate=row.rate,
        share=row.share,
        quota_seconds=seconds_or_none(row.quota),
        allow_unsafe=row.allow_unsafe,
        created_at=seconds(row.created_at),
        expires_at=seconds_or_none(row.expires_at),
        revoked_at=seconds_or_none(row.revoked_at),
        last_used_at=seconds_or_none(row.last_used_at),
    )
