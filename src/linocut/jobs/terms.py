"""What the store takes and gives besides records: frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from linocut.jobs.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may be waiting when a request comes in.

    queue: records waiting, of everybody.   share: records waiting, of this key.
    quota_seconds: worker seconds of this key per UTC day; None for no limit.
    workers: how many draw; a full queue has a place again after a run, shared among them.
    """

    queue: int
    share: int
    quota_seconds: float | None = None
    workers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A worker that is idle while a request comes in: what is next may be claimed for it at once.

    close: to be called once, with the record that was claimed, or with None.
    """

    lane: str
    lease: float
    close: Callable[[Record | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An accepted request. `replayed`: its Idempotency-Key had been used for this record before.

    place: 1 is the next in the queue; 0 when the record waits no more.
    usual: seconds that a waiting record was said to take when this one came, on average.
    """

    record: Record
    replayed: bool
    place: int
    usual: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Open records, and the worker seconds that they were estimated to take."""

    queued: int
    processing: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook to send: `attempt` counts from 1; the body is built from the record."""

    id: str
    record_id: str
    tenant: str
    event: str
    url: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is kept: its digest (hex), never its text. Times are seconds since 1970.

    rate: requests a minute; share: records waiting; None for the server's default.
    quota_seconds: worker seconds per UTC day; None for no limit.
    allow_unsafe: whether this key may switch the safety checker off.
    """

    id: str
    tenant: str
    name: str
    digest: str
    scopes: tuple[str, ...]
    rate: float | None = None
    share: int | None = None
    quota_seconds: float | None = None
    allow_unsafe: bool = False
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """A finished record that retention says to delete."""

    tenant: str
    id: str
