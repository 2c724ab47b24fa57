"""`GET /api/results/{uuid}`: how a record stands, in the hosted API's way: 200, or 200 and null."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linocut.server.answers import answer, base_url, find, service_of
from linocut.server.auth import Reader
from linocut.server.routes.records import Uuid
from linocut.server.schemas import ResultAnswer, answers

router = APIRouter(tags=["Records"])

ANSWERS: Final = answers(ResultAnswer, 401, 403, 404, 429, about="The record, or null.")


@router.get(
    "/api/results/{uuid}",
    operation_id="getResult",
    summary="How a picture stands",
    responses=ANSWERS,
)
async def result(request: Request, caller: Reader, uuid: Uuid) -> Response:
    """The record, or `{"aiRecord": null}` where there is none of this id among yours."""
    return await _result(request, caller.tenant, uuid)


@router.get(
    "/api/features/{uuid}",
    operation_id="getFeature",
    summary="The same, by another address",
    responses=ANSWERS,
)
async def feature(request: Request, caller: Reader, uuid: Uuid) -> Response:
    """As `/api/results/{uuid}`."""
    return await _result(request, caller.tenant, uuid)


async def _result(request: Request, tenant: str, uuid: str) -> Response:
    service = service_of(request)
    record = await find(service, tenant, uuid)
    inner = None if record is None else await answer(service, record, base_url(request))
    return JSONResponse({"aiRecord": inner})
