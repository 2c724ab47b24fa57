"""`POST /api/features`: a picture is asked for, and answered in one of three ways.

Blocking (the rule), at once (`"async": true`, or `Prefer: respond-async`), or as a stream of
events (`?isStreaming=true`). A caller who goes away cancels nothing: the record goes on.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from linocut.errors import Conflict, LinocutError, Unavailable, of_stored
from linocut.jobs.record import Record, State
from linocut.jobs.terms import Submitted
from linocut.server import problems
from linocut.server.admission import Wish, admit, limits
from linocut.server.answers import answer, base_url, in_line, in_short, service_of
from linocut.server.auth import Drawer
from linocut.server.body import JsonObject, read_json, received
from linocut.server.context import Service
from linocut.server.dialects.features import FeatureCall, parse
from linocut.server.dialects.features_record import Waiting
from linocut.server.dialects.features_schema import request_body
from linocut.server.idempotency import HEADER, REPLAYED, fingerprint, key_in
from linocut.server.schemas import AiRecordAnswer, answers, sent_header
from linocut.server.streams import HEADERS, MEDIA_TYPE, Listener, looks, story

ROUTE: Final = "/api/features"
LARGE: Final = 1_000_000  # bytes from which a body is parsed beside the event loop
MAX_PREFERENCE: Final = 100  # characters of one preference; the ones we know are short
_PREFERENCE: Final = re.compile(r'([\w-]+)\s*(?:=\s*"?(\d{1,6})"?)?\s*(?:;.*)?', re.ASCII)

READ: Final = [
    sent_header(HEADER, "The same key with the same body leads to the same record."),
    sent_header("Prefer", "`respond-async` answers at once with 202; `wait=n` after n seconds."),
]
ANSWERS: Final = {
    **answers(AiRecordAnswer, 401, 403, 409, 415, 422, 429, about="The picture, or its events."),
    202: {"model": AiRecordAnswer, "description": "It is not done yet; ask at `Location` again."},
}
ANSWERS[200]["content"] = {MEDIA_TYPE: {}}

router = APIRouter(tags=["Pictures"])


@dataclass(frozen=True, slots=True)
class Preference:
    """What the `Prefer` header asks for; what is not understood there is passed over."""

    at_once: bool = False
    wait: float | None = None

    @classmethod
    def of(cls, request: Request) -> Preference:
        """As the request says."""
        said = ",".join(request.headers.getlist("prefer")).split(",")
        short = (each.strip() for each in said if len(each) <= MAX_PREFERENCE)
        known = filter(None, map(_PREFERENCE.fullmatch, short))
        found = {each[1].lower(): each[2] for each in known}
        wait = found.get("wait")
        return cls("respond-async" in found, float(wait) if wait else None)

    @property
    def applied(self) -> dict[str, str]:
        """The header that says so."""
        if self.at_once:
            return {"Preference-Applied": "respond-async"}
        return {} if self.wait is None else {"Preference-Applied": f"wait={self.wait:.0f}"}


@router.post(
    ROUTE,
    operation_id="createPicture",
    summary="Draw a picture",
    responses=ANSWERS,
    openapi_extra=request_body() | {"parameters": READ},
)
async def create(
    request: Request,
    caller: Drawer,
    *,
    is_streaming: Annotated[
        bool, Query(alias="isStreaming", description="Answer with a stream of events.")
    ] = False,
) -> Response:
    """Draw from a prompt, with or without reference pictures.

    Answers when the picture is done; with `"async": true` or `Prefer: respond-async` at once, and
    `GET /api/results/{uuid}` tells how it goes. Sent again with the same `Idempotency-Key`, it
    leads to the same record.
    """
    service = service_of(request)
    allowance = await service.limiter.take(caller)
    request.state.allowance = allowance
    key, base = key_in(request.headers.get(HEADER)), base_url(request)
    with service.holding.room(caller.tenant) as room:
        raw = await received(request, room)  # who takes long to send it takes no place at the door
        with service.doorway.passing(caller.id, limits(service, caller)):
            content_type = request.headers.get("content-type")
            body, digest = await _read(raw, content_type, is_keyed=bool(key))
            raw.clear()
            call = parse(body, request.query_params)
            wish = Wish(
                call=call,
                idempotency_key=key,
                fingerprint=digest,
                preview=is_streaming if call.wants_previews is None else call.wants_previews,
                here=base,
            )
            submitted = await admit(service, caller, wish)
    headers = {**allowance.headers, **({REPLAYED: "true"} if submitted.replayed else {})}
    if is_streaming:
        listener = Listener(base=base, request_id=request.state.request_id)
        events = story(service, submitted.record, after=0, listener=listener)
        at = {"Location": f"/api/records/{submitted.record.id}"}
        return StreamingResponse(events, media_type=MEDIA_TYPE, headers=headers | HEADERS | at)
    return await _answered(request, call, submitted, headers)


async def _read(
    raw: bytearray, content_type: str | None, *, is_keyed: bool
) -> tuple[JsonObject, str]:
    """The object, and its fingerprint where an Idempotency-Key will ask for it."""

    def read() -> tuple[JsonObject, str]:
        body = read_json(raw, content_type)
        return body, fingerprint(ROUTE, body) if is_keyed else ""

    return read() if len(raw) < LARGE else await asyncio.to_thread(read)


async def _answered(
    request: Request, call: FeatureCall, submitted: Submitted, headers: Mapping[str, str]
) -> Response:
    """The record as it is now, or as it is when it has ended."""
    service, prefer, record = service_of(request), Preference.of(request), submitted.record
    if call.is_async or prefer.at_once:
        status = 202 if prefer.at_once and not record.is_final else 200
        applied = prefer.applied if prefer.at_once else {}
        waits = (
            None
            if submitted.replayed
            else in_line(service, record, submitted.place, submitted.usual)
        )
        return await record_answer(request, record, status, {**headers, **applied}, waits)
    most = service.settings.sync_wait
    seconds = most if prefer.wait is None else min(prefer.wait, most)
    record = await ended(request, service, record, seconds)
    if not record.is_final:
        return await record_answer(request, record, 202, {**headers, **prefer.applied})
    error = _failure(record)
    if error is not None:
        return failure_answer(request, record, error, headers)
    return await record_answer(request, record, 200, headers)


async def ended(request: Request, service: Service, record: Record, seconds: float) -> Record:
    """The record when it has ended; before that, if time is up or nobody listens any more.

    Of a server that is leaving, what is being drawn may still come; what waits does not.
    """
    until = time.monotonic() + seconds
    async with aclosing(looks(service, record.id, follows=False)) as pulse:
        async for news in pulse:
            if isinstance(news, Record):
                record = news
            elif news and not record.is_final:
                record = await _looked_up(service, record)
            is_left = service.draining.on and record.state is State.QUEUED
            if record.is_final or is_left or time.monotonic() >= until:
                break
            if await request.is_disconnected():
                break
    return record


async def _looked_up(service: Service, record: Record) -> Record:
    """The record as it is now; as it was while the database is away, canceled if it was deleted."""
    try:
        now = await service.store.record(record.tenant, record.id)
    except Unavailable:
        return record  # it is accepted, and the next look may tell how it goes
    return now or replace(record, state=State.CANCELED)


async def record_answer(
    request: Request,
    record: Record,
    status: int,
    headers: Mapping[str, str],
    waits: Waiting | None = None,
) -> Response:
    """`{"aiRecord": …}`; 202 says where to ask again. waits: if that is known already."""
    service, base = service_of(request), base_url(request)
    try:
        told = await answer(service, record, base, waits)
    except Unavailable:  # how long it waits is not known now; that it was accepted is
        told = in_short(service, record, base)
    content: dict[str, Any] = {"aiRecord": told}
    at = {"Location": f"/api/records/{record.id}", "Retry-After": "2"} if status == 202 else {}
    return JSONResponse(content, status, {**headers, **at, "Cache-Control": "no-store"})


def failure_answer(
    request: Request, record: Record, error: LinocutError, headers: Mapping[str, str]
) -> Response:
    """The problem that ended the record, and which record that was."""
    said = problems.problem(
        error,
        request_id=request.state.request_id,
        instance=f"/api/records/{record.id}",
    )
    return JSONResponse(
        said | {"uuid": record.id},
        problems.status_of(error),
        {**headers, **problems.headers_of(error), "Cache-Control": "no-store"},
        media_type=problems.MEDIA_TYPE,
    )


def _failure(record: Record) -> LinocutError | None:
    if record.state is State.CANCELED:
        return Conflict("the picture was canceled before it was done", hint="send it again")
    return of_stored(record.error or {}) if record.state is State.FAILURE else None
