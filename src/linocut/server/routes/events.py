"""`GET /api/records/{uuid}/events`: a record's story as it happens, taken up where it was left."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from linocut.errors import InvalidRequest
from linocut.server.answers import base_url, service_of
from linocut.server.auth import Reader
from linocut.server.routes.records import Uuid, owned
from linocut.server.schemas import answers, sent_header
from linocut.server.streams import HEADERS, MEDIA_TYPE, Listener, story

router = APIRouter(tags=["Records"])

LAST_ID: Final = "Last-Event-ID"
MOST: Final = 2**31 - 1
ANSWERS: Final = answers(
    None, 401, 403, 404, 429, about="Events, each with its number as `id`."
) | {204: {"description": "It has ended, and all of it was told."}}
ANSWERS[200]["content"] = {MEDIA_TYPE: {}}
_NUMBER: Final = re.compile(r"[0-9]{1,10}", re.ASCII)


@router.get(
    "/api/records/{uuid}/events",
    operation_id="streamEvents",
    summary="What happens to a record",
    response_class=StreamingResponse,
    responses=ANSWERS,
    openapi_extra={"parameters": [sent_header(LAST_ID, "Begin behind this event's number.")]},
)
async def events(
    request: Request,
    caller: Reader,
    uuid: Uuid,
    after: Annotated[
        int, Query(ge=0, le=MOST, description="Begin behind this event's number.")
    ] = 0,
) -> Response:
    """Events from the first, or behind `Last-Event-ID`; 204 when no more will come."""
    service = service_of(request)
    record = await owned(request, caller.tenant, uuid)
    behind = max(after, _last_id(request))
    if record.is_final and not await service.store.events(record.id, behind):
        return Response(status_code=204)  # an EventSource then stops asking
    listener = Listener(base=base_url(request), request_id=request.state.request_id)
    lines = story(service, record, after=behind, listener=listener)
    return StreamingResponse(lines, media_type=MEDIA_TYPE, headers=HEADERS)


def _last_id(request: Request) -> int:
    text = request.headers.get(LAST_ID, "").strip()
    if not text:
        return 0
    if not _NUMBER.fullmatch(text) or int(text) > MOST:
        raise InvalidRequest(
            f"{LAST_ID}: use the id of an event, a whole number",
            field=LAST_ID,
            hint="leave it out to begin with the first event",
        )
    return int(text)
