"""Every error that linocut raises on purpose, as one tree. Imports nothing.

    LinocutError
    ├── InvalidRequest          what was asked for cannot be drawn
    │   ├── InvalidBody         no JSON, or JSON beyond the limits
    │   ├── UnsupportedModel    a model or feature that is not served here
    │   └── InvalidPicture      bytes that are no picture, or one outside the limits
    ├── CheckpointError         the weights, or the folder they should be in
    │   ├── CheckpointNotFound  nothing of that name or path here
    │   ├── CheckpointInvalid   something is there, but it is not whole or not FLUX.2
    │   └── DownloadRefused     the hub would not give it, or it would not fit on the disk
    ├── DoesNotFit              more memory than there is, or a mode that cannot run here
    ├── OutputError             what was made could not be saved, or standard output refused it
    ├── ContentRefused          a safety check said no
    ├── CheckFailed             a safety check could say neither yes nor no
    └── ServiceError            what a server answers besides pictures
        ├── InvalidKey          none, unknown, expired or revoked
        ├── Forbidden           the key may not do this
        ├── NotFound            nothing of that name, or nothing that this key may see
        ├── MethodNotAllowed    the address is right, the method is not
        ├── Conflict            the thing is in a state in which this cannot be done
        ├── IdempotencyMismatch the Idempotency-Key was used with another request
        ├── PayloadTooLarge     more bytes than are read
        ├── UnsupportedMedia    a body of another type or charset
        ├── Later               not now, but `retry_after` seconds from now
        │   ├── RateLimited     more requests than this key may send
        │   ├── QueueFull       the queue, or the key's share of it
        │   ├── QuotaExceeded   the key's worker seconds are used up
        │   ├── Unavailable     starting, draining, or without its database
        │   └── StorageUnavailable  pictures cannot be kept or given now
        └── WorkerFailed        the process that draws crashed, hung or ran out of memory

Each class has a stable `code`; each message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class LinocutError(Exception):
    """Root of the tree: a message in words, a `hint` on what to do next, a stable `code`.

    `details` names what a class adds to these; they are arguments of its birth by name.
    """

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1
    details: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        details = {name: getattr(self, name) for name in self.details}
        return _revive, (type(self), self.message, {"hint": self.hint, **details})


def _revive(kind: type[LinocutError], message: str, rest: Mapping[str, Any]) -> LinocutError:
    return kind(message, **rest)


class InvalidRequest(LinocutError):
    """A value outside its range; `field` names it.

    fields: where a whole form was read, all that is wrong in it, as (JSON pointer, message).
    """

    code = "invalid_request"
    exit_code = 2
    details = ("field", "fields")

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        fields: Sequence[tuple[str, str]] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.field = field
        self.fields = tuple((pointer, said) for pointer, said in fields)


class InvalidBody(InvalidRequest):
    """A body that is no JSON, or JSON beyond the limits."""

    code = "invalid_body"


class UnsupportedModel(InvalidRequest):
    """A model or feature that is not served here."""

    code = "unsupported_model"


class InvalidPicture(InvalidRequest):
    """Bytes that do not decode as a picture, or a picture outside the limits."""

    code = "invalid_picture"
    exit_code = 3


class CheckpointError(LinocutError):
    """Something about a checkpoint; see the subclasses."""

    code = "checkpoint"
    exit_code = 4


class CheckpointNotFound(CheckpointError):
    """No checkpoint of that name or at that path."""

    code = "checkpoint_not_found"


class CheckpointInvalid(CheckpointError):
    """A folder or file that is not a whole FLUX.2 checkpoint in a safe format."""

    code = "checkpoint_invalid"


class DownloadRefused(CheckpointError):
    """The hub refused, or the disk is too small."""

    code = "download_refused"
    exit_code = 5


class DoesNotFit(LinocutError):
    """The request or the mode needs what this machine does not have."""

    code = "does_not_fit"
    exit_code = 6


class OutputError(LinocutError):
    """A file could not be saved, and nothing half-written was left; or standard output is full."""

    code = "output"
    exit_code = 7


class ContentRefused(LinocutError):
    """A safety check refused a prompt or a picture.

    stage: "input" or "output".   category: what was found, as "sexual".
    """

    code = "content_moderated"
    exit_code = 8
    details = ("stage", "category")

    def __init__(self, message: str, *, stage: str, category: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.category = category


class CheckFailed(LinocutError):
    """A safety check cannot be loaded, or fails while it looks: nothing passes without it."""

    code = "check_failed"
    exit_code = 9


class ServiceError(LinocutError):
    """What a server answers besides pictures; see the subclasses."""

    code = "service"


class InvalidKey(ServiceError):
    """No API key, or one that is unknown, expired or revoked."""

    code = "invalid_api_key"


class Forbidden(ServiceError):
    """The key may not do this."""

    code = "forbidden"


class NotFound(ServiceError):
    """Nothing of that name here, or nothing that this key may see."""

    code = "not_found"


class MethodNotAllowed(ServiceError):
    """The address is right, the method is not."""

    code = "method_not_allowed"


class Conflict(ServiceError):
    """The thing is in a state in which this cannot be done."""

    code = "conflict"


class IdempotencyMismatch(ServiceError):
    """The Idempotency-Key was used before, with another request."""

    code = "idempotency_mismatch"


class PayloadTooLarge(ServiceError):
    """More bytes than are read."""

    code = "payload_too_large"


class UnsupportedMedia(ServiceError):
    """A body of another type or charset than the route reads."""

    code = "unsupported_media_type"


class Later(ServiceError):
    """Not now: try again after `retry_after` seconds."""

    code = "later"
    details = ("retry_after",)

    def __init__(self, message: str, *, retry_after: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RateLimited(Later):
    """More requests than this key may send."""

    code = "rate_limited"


class QueueFull(Later):
    """The queue, or this key's share of it, is full."""

    code = "queue_full"


class QuotaExceeded(Later):
    """The key's worker seconds are used up for now."""

    code = "quota_exceeded"


class Unavailable(Later):
    """The server is starting, draining, or has lost its database."""

    code = "unavailable"


class StorageUnavailable(Later):
    """The place where pictures are kept does not take or give them."""

    code = "storage_unavailable"


class WorkerFailed(ServiceError):
    """The process that draws crashed, hung or ran out of memory, and trying again did not help."""

    code = "worker_failed"


def to_stored(error: LinocutError) -> dict[str, Any]:
    """The error as JSON values, for a record or a pipe; `of_stored` makes it again."""
    details = {name: getattr(error, name) for name in error.details}
    return {"code": error.code, "message": error.message, "hint": error.hint, **details}


def of_stored(
    values: Mapping[str, Any], unknown: type[LinocutError] = LinocutError
) -> LinocutError:
    """The error that was stored; one of a code that the tree lacks becomes an `unknown`."""
    kind = kinds().get(values.get("code", ""), unknown)
    details = {name: values[name] for name in ("hint", *kind.details) if name in values}
    return kind(str(values.get("message", "")), **details)


def kinds() -> dict[str, type[LinocutError]]:
    """Every class of this file's tree by its code."""
    every = (kind for kind in globals().values() if isinstance(kind, type))
    return {kind.code: kind for kind in every if issubclass(kind, LinocutError)}
