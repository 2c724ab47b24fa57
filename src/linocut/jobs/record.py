"""The record is the job: what is asked for, its states, and the moves between them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from linocut.request import ImageRequest


class State(StrEnum):
    """Where a record stands. On the wire QUEUED is shown as PROCESSING."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"


MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.PROCESSING, State.FAILURE, State.CANCELED}),
    State.PROCESSING: frozenset({State.QUEUED, State.SUCCESS, State.FAILURE, State.CANCELED}),
    State.SUCCESS: frozenset(),
    State.FAILURE: frozenset(),
    State.CANCELED: frozenset(),
}
FINAL: Final = frozenset(state for state, moves in MOVES.items() if not moves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be drawn and how it is to be handed over; complete, without any default left.

    request: without references; those are files in the store, `reference_keys`, in their order.
    go_fast: permission for the device's fast mode.   check_safety: what was decided, not wished.
    """

    request: ImageRequest
    reference_keys: tuple[str, ...] = ()
    go_fast: bool = False
    output_format: str = "webp"
    output_quality: int = 80
    check_safety: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request as the edge hands it in: whose it is, what was sent, what is to be drawn.

    body: the top-level JSON as it was sent; its "promptObject" is echoed in every answer.
    estimate: worker seconds that are reserved of the key's quota, settled when it ends.
    is_guess: nobody knows yet how fast it draws here; so much is reserved as the quota has left.
    idempotency_key, fingerprint: the header, and a digest of everything that must be the same.
    webhook: where to tell about `webhook_events`; "" for nowhere.
    """

    tenant: str
    key_id: str
    feature: str
    model: str
    body: Mapping[str, Any]
    order: Order
    estimate: float
    is_guess: bool = False
    idempotency_key: str = ""
    fingerprint: str = ""
    webhook: str = ""
    webhook_events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file of the image store that the database knows. `kind`: result, reference or upload."""

    key: str
    tenant: str
    kind: str
    content_type: str
    size: int
    sha256: str
    width: int
    height: int
    record_id: str = ""
    original_name: str = ""
    created_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it is stored. Times are seconds since 1970, of the database's clock.

    attempt: runs that were begun and counted.   fence: grows with every claim; a write with an
    older one is refused.   result: `metadata` of the picture, for SUCCESS.   error: `code`,
    `message`, `hint` and what the error's kind adds, for FAILURE.
    """

    id: str
    tenant: str
    key_id: str
    feature: str
    model: str
    state: State
    body: Mapping[str, Any]
    order: Order
    estimate: float
    attempt: int
    fence: int
    starred: bool
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    seconds: float = 0.0
    result_keys: tuple[str, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None

    @property
    def is_final(self) -> bool:
        """Whether it moves no more."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEvent:
    """One line of a record's story: `seq` counts from 1; at its end previews leave gaps.

    kind: queued, started, progress, preview, completed, failed, canceled (the last three end it).
    """

    record_id: str
    seq: int
    kind: str
    data: Mapping[str, Any]
    at: float


ENDINGS: Final[Mapping[State, str]] = {
    State.SUCCESS: "completed",
    State.FAILURE: "failed",
    State.CANCELED: "canceled",
}
