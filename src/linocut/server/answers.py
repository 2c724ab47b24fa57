"""A record as its caller sees it: with a fresh link, its place in the queue, and how long it stays.

Links are signed when they are read, so that every answer carries one that still works.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote
from uuid import UUID

from starlette.requests import HTTPConnection

from linocut.jobs.record import Record, State
from linocut.server.body import JsonObject
from linocut.server.context import Service
from linocut.server.dialects.features_record import Waiting, ai_record

DAY: Final = 86_400


def service_of(connection: HTTPConnection) -> Service:
    """The parts of the server that this request came to."""
    service: Service = connection.app.state.service
    return service


def base_url(connection: HTTPConnection) -> str:
    """How links begin: as the operator set it, or a host that is believed, or where we listen."""
    settings = service_of(connection).settings
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = connection.headers.get("host", "").lower()
    name = host.rpartition(":")[0] if _has_port(host) else host
    believed = {allowed.lower() for allowed in settings.allowed_hosts}
    if not host or not {host, name} & believed:
        host = _listening(connection)
    return f"{connection.url.scheme}://{host}"


def link(service: Service, key: str, base: str) -> str:
    """An address that shows this picture to whoever has it, until it expires."""
    seconds = int(service.settings.link_seconds)
    query = service.signer.sign(key, now=time.time(), seconds=seconds)
    return f"{base}/files/{quote(key)}?{query}"


async def find(service: Service, tenant: str, text: str) -> Record | None:
    """The tenant's record of this id; what is no id finds nothing."""
    try:
        name = str(UUID(text))
    except ValueError:
        return None
    return await service.store.record(tenant, name)


async def answer(
    service: Service, record: Record, base: str, waits: Waiting | None = None
) -> JsonObject:
    """The record as the contract's `aiRecord`. waits: if that is known already."""
    if waits is None and not record.is_final:
        waits = await waiting(service, record)
    return in_short(service, record, base, waits)


def in_short(
    service: Service, record: Record, base: str, waits: Waiting | None = None
) -> JsonObject:
    """The same, without asking how long it waits."""
    return ai_record(
        record,
        temporary_url=link(service, record.result_keys[0], base) if record.result_keys else None,
        waiting=waits,
        kept_until=kept_until(service, record),
        kept_while_room=bool(service.settings.retention_bytes) and not record.starred,
    )


async def waiting(service: Service, record: Record) -> Waiting:
    """An open record's place, and about how long it still takes."""
    if record.state is State.PROCESSING:
        now = service.store.time()
        # The database's clock is known to a few milliseconds: a start may seem to lie ahead.
        ran = max(0.0, now - (record.started_at or now))
        return Waiting(0, max(0.0, record.estimate - ran))
    place = await service.store.place(record.id)
    backlog = await service.store.backlog()
    usual = backlog.seconds / max(1, backlog.queued + backlog.processing)
    return in_line(service, record, place, usual)


def in_line(service: Service, record: Record, place: int, usual: float) -> Waiting:
    """A waiting record's place, and how long it takes where each takes the usual seconds."""
    return Waiting(place, max(record.estimate, usual * place / service.settings.workers))


def kept_until(service: Service, record: Record) -> float | None:
    """When a finished record is deleted for its age; None for never."""
    if record.finished_at is None or record.starred:
        return None
    return too_old(service, record.finished_at)


def too_old(service: Service, since: float) -> float | None:
    """When something is deleted for an age that counts from then; None for never."""
    days = service.settings.retention_days
    return since + days * DAY if days else None


def _has_port(host: str) -> bool:
    return ":" in host.rpartition("]")[2]


def _listening(connection: HTTPConnection) -> str:
    """The address of the socket itself, which no caller can choose."""
    host, port = connection.scope.get("server") or ("localhost", None)
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{port}" if port else name
