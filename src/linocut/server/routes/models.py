"""`GET /models`: what can be asked for here, and by which checkpoint it is drawn."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linocut.server.answers import service_of
from linocut.server.dialects.features_record import models
from linocut.server.schemas import ModelsAnswer, answers

router = APIRouter(tags=["Models"])


@router.get(
    "/models",
    operation_id="listModels",
    summary="The models",
    responses=answers(ModelsAnswer, about="What is served."),
)
async def served(
    request: Request,
    feature: Annotated[
        str, Query(max_length=100, description="IMAGE_GENERATOR or IMAGE_EDITOR; all without it.")
    ] = "",
) -> Response:
    """The models for a feature, in the hosted shape. No API key is asked for."""
    conditions = service_of(request).supervisor.conditions()
    ready = next((each.ready for each in conditions if each.ready), None)
    if ready is None:
        return JSONResponse(models(feature))
    return JSONResponse(
        models(
            feature,
            checkpoint=ready.checkpoint,
            demo=ready.demo,
            repertoire=ready.repertoire,
        )
    )
