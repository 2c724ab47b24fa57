"""`/api/records`: what was drawn so far; looked through, starred, canceled, deleted."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linocut.errors import InvalidRequest, NotFound
from linocut.images.store import forget
from linocut.jobs.record import Record
from linocut.server.answers import answer, base_url, find, in_short, service_of
from linocut.server.auth import Drawer, Reader
from linocut.server.paging import cursor_of, record_before
from linocut.server.schemas import AiRecordAnswer, RecordsPage, answers

router = APIRouter(tags=["Records"])

Uuid = Annotated[str, Path(description="The record's `uuid`.")]
MOST: Final = 100
ONE: Final = answers(AiRecordAnswer, 401, 403, 404, 429, about="The record.")


@router.get(
    "/api/records",
    operation_id="listRecords",
    summary="The history, the newest first",
    responses=answers(RecordsPage, 401, 403, 429, about="A page."),
)
async def history(
    request: Request,
    caller: Reader,
    *,
    limit: Annotated[int, Query(ge=1, le=MOST, description="How many.")] = 20,
    cursor: Annotated[
        str, Query(max_length=200, description="`next_cursor` of the page before.")
    ] = "",
    search: Annotated[str, Query(max_length=200, description="Part of the prompt.")] = "",
    starred: Annotated[bool | None, Query(description="Only those with, or without.")] = None,
) -> Response:
    """A page of records. `Link: rel="next"` and `next_cursor` lead to the one after it."""
    service, secret = service_of(request), service_of(request).secrets.cursor
    if "\0" in search:
        raise InvalidRequest("search: a text without the character U+0000", field="search")
    before = record_before(cursor, tenant=caller.tenant, secret=secret) if cursor else None
    found = await service.store.records(
        caller.tenant, limit=limit + 1, before=before, search=search, starred=starred
    )
    page, has_more = found[:limit], len(found) > limit
    base = base_url(request)
    mark = cursor_of(page[-1].id, tenant=caller.tenant, secret=secret) if has_more else None
    headers = {"Link": _next(request, mark)} if mark else {}
    content = {
        "records": [in_short(service, record, base) for record in page],
        "has_more": has_more,
        "next_cursor": mark,
    }
    return JSONResponse(content, headers=headers)


@router.get("/api/records/{uuid}", operation_id="getRecord", summary="One record", responses=ONE)
async def one(request: Request, caller: Reader, uuid: Uuid) -> Response:
    """The record; 404 if there is none of this id among yours."""
    return await _answer(request, await owned(request, caller.tenant, uuid))


@router.delete(
    "/api/records/{uuid}",
    operation_id="deleteRecord",
    summary="Delete a record and its pictures",
    status_code=204,
    responses=answers(None, 401, 403, 404, 409, 429, status=204, about="It is gone."),
)
async def delete(request: Request, caller: Drawer, uuid: Uuid) -> Response:
    """Gone for good, with its files. While it is open: cancel it first (409)."""
    service = service_of(request)
    record = await owned(request, caller.tenant, uuid)
    keys = await service.store.delete(caller.tenant, record.id)
    if keys is None:
        raise absent()
    await forget(service.pictures, keys)  # nobody can see them any more, wherever they are
    return Response(status_code=204)


@router.post(
    "/api/records/{uuid}/cancel",
    operation_id="cancelRecord",
    summary="Stop drawing a picture",
    responses=ONE,
)
async def cancel(request: Request, caller: Drawer, uuid: Uuid) -> Response:
    """The record, canceled; one that has ended stays as it is. A running one stops in two steps."""
    record = await owned(request, caller.tenant, uuid)
    canceled = await service_of(request).store.cancel(caller.tenant, record.id)
    return await _answer(request, canceled)


@router.put(
    "/api/records/{uuid}/star", operation_id="starRecord", summary="Star a record", responses=ONE
)
async def star(request: Request, caller: Drawer, uuid: Uuid) -> Response:
    """The record, starred. Starred ones are kept, whatever their age."""
    record = await owned(request, caller.tenant, uuid)
    return await _answer(
        request, await service_of(request).store.star(caller.tenant, record.id, starred=True)
    )


@router.delete(
    "/api/records/{uuid}/star",
    operation_id="unstarRecord",
    summary="Take a star away",
    responses=ONE,
)
async def unstar(request: Request, caller: Drawer, uuid: Uuid) -> Response:
    """The record, without its star."""
    record = await owned(request, caller.tenant, uuid)
    return await _answer(
        request, await service_of(request).store.star(caller.tenant, record.id, starred=False)
    )


async def owned(request: Request, tenant: str, uuid: str) -> Record:
    """The tenant's record; NotFound says the same for absent and for foreign ones."""
    record = await find(service_of(request), tenant, uuid)
    if record is None:
        raise absent()
    return record


def absent() -> NotFound:
    """What is said of every record that is not there for the caller."""
    return NotFound("there is no such record", hint="GET /api/records lists yours")


async def _answer(request: Request, record: Record | None) -> Response:
    if record is None:
        raise absent()
    inner = await answer(service_of(request), record, base_url(request))
    return JSONResponse({"aiRecord": inner})


def _next(request: Request, mark: str) -> str:
    asked = {name: value for name, value in request.query_params.items() if name != "cursor"}
    return f'<{base_url(request)}/api/records?{urlencode(asked | {"cursor": mark})}>; rel="next"'
