"""How the server is: alive, ready to draw, or what it waits for, in words."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from linocut.errors import LinocutError, NotFound
from linocut.server.auth import caller, needs, sent_key
from linocut.server.context import Service
from linocut.server.metrics import CONTENT_TYPE
from linocut.server.schemas import answers
from linocut.workers.protocol import Condition

STARTING: Final = "STARTING"
READY: Final = "READY"
BUSY: Final = "BUSY"
DRAINING: Final = "DRAINING"
DEGRADED: Final = "DEGRADED"
PATIENCE: Final = 2.0
KEPT: Final = 1.0  # to ask costs a transaction and a file, and nobody needs a key for it

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers; nothing else is said by this."""

    status: str = Field(examples=["ALIVE"])


class WorkerHealth(BaseModel):
    """One worker."""

    name: str
    state: str = Field(description="starting, idle, busy or down")
    reason: str = Field(description="why, in words; empty if there is nothing to say")
    restarts: int
    checkpoint: str | None
    device: str | None
    modes: tuple[str, ...]
    fast_mode: str | None = Field(
        description="what go_fast permits; null where nothing is faster than the first of its modes"
    )


class Readiness(BaseModel):
    """Whether requests are taken and drawn now."""

    status: str = Field(description="STARTING, READY, BUSY, DRAINING or DEGRADED")
    ready: bool
    waits_for: tuple[str, ...] = Field(description="what is missing, in words")
    workers: tuple[WorkerHealth, ...]


async def readiness(service: Service) -> Readiness:
    """The state of every part that drawing needs."""
    database, storage = await asyncio.gather(
        _trouble("the database", service.store.ping()),
        _trouble("the image store", service.pictures.ping()),
    )
    conditions = service.supervisor.conditions()
    waits = [words for words in (database, storage) if words]
    status, ready = _judged(conditions)
    if waits:
        status, ready = DEGRADED, False
    if service.draining.on:
        status, ready = DRAINING, False
        waits.append("the server is stopping")
    waits += [_words(one) for one in conditions if one.state in {"starting", "down"}]
    return Readiness(
        status=status,
        ready=ready,
        waits_for=tuple(waits),
        workers=tuple(_worker(one) for one in conditions),
    )


@dataclass(slots=True)
class Glance:
    """How the service is, looked up once a second at most; who asks meanwhile shares the answer."""

    service: Service
    _asked: asyncio.Task[Readiness] | None = None
    _at: float = 0.0
    _was_leaving: bool = False

    async def look(self) -> Readiness:
        """The state of every part that drawing needs, as it was within the last second."""
        now, leaving = time.monotonic(), self.service.draining.on
        asked = self._asked
        is_old = leaving != self._was_leaving or now - self._at >= KEPT
        if asked is None or (asked.done() and is_old):
            asked = self._asked = asyncio.create_task(readiness(self.service))
            self._at, self._was_leaving = now, leaving
        return await asyncio.shield(asked)  # who goes away takes the answer from nobody


def _judged(conditions: Sequence[Condition]) -> tuple[str, bool]:
    """The state that the workers alone would make, and whether one of them can draw."""
    able = [one for one in conditions if one.state in {"idle", "busy"}]
    lost = any(one.state == "down" or (one.state == "starting" and one.restarts)
               for one in conditions)  # fmt: skip
    if lost:
        return DEGRADED, bool(able)
    if not able:
        return STARTING, False
    return (READY if any(one.state == "idle" for one in able) else BUSY), True


async def _trouble(what: str, asked: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await asked
    except TimeoutError:
        return f"{what} does not answer"
    except LinocutError as error:
        return f"{what}: {error.message}"
    return ""


def _words(one: Condition) -> str:
    what = "is loading its checkpoint" if one.state == "starting" else "is down"
    return f"worker {one.name} {what}" + (f": {one.reason}" if one.reason else "")


def _worker(one: Condition) -> WorkerHealth:
    return WorkerHealth(
        name=one.name,
        state=one.state,
        reason=one.reason,
        restarts=one.restarts,
        checkpoint=one.ready.checkpoint if one.ready else None,
        device=one.ready.device if one.ready else None,
        modes=one.ready.modes if one.ready else (),
        fast_mode=one.ready.fast if one.ready else None,
    )


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Whether the process is alive")
@router.get("/health", summary="The same as /livez", include_in_schema=False)
async def livez() -> Alive:
    """Says nothing of the parts it needs: a restart would not mend those."""
    return Alive(status="ALIVE")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Whether pictures can be drawn now",
    responses={503: {"model": Readiness, "description": "Not now; `waits_for` says why."}},
)
@router.get("/ready", summary="The same as /readyz", include_in_schema=False)
async def readyz(request: Request, response: Response) -> Readiness:
    """200 while a worker can draw and the database and the image store answer."""
    glance: Glance = request.app.state.glance
    found = await glance.look()
    if not found.ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses=answers(None, 401, 403, 404, 429)
    | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request, key: Annotated[str, Depends(sent_key)]) -> Response:
    """For the metrics token, and for keys of admins."""
    service: Service = request.app.state.service
    if not service.settings.metrics:
        raise NotFound("/metrics is switched off", hint="LINOCUT_METRICS=true switches it on")
    token = service.settings.metrics_token.get_secret_value()
    if not (token and hmac.compare_digest(token.encode(), key.encode())):
        await needs("admin")(await caller(request, key))
    await _measure(service)
    return Response(service.metrics.page(), media_type=CONTENT_TYPE)


async def _measure(service: Service) -> None:
    """What is asked for when it is wanted, and not kept up to date."""
    kept = service.metrics
    kept.held.set(service.holding.total)
    if service.tally is not None:
        await service.tally.count()
    kept.depth.set((await service.store.backlog()).queued)
    for one in service.supervisor.conditions():
        kept.engines.labels(one.name).set(one.state in {"idle", "busy"})
