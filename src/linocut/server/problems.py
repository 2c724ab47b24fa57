"""Errors as HTTP answers: one table from the tree to statuses, one body that many clients read.

The body joins RFC 9457 (`type`, `title`, `status`, `detail`, `instance`), our own members (`code`,
`hint`, `request_id`, `errors`) and what clients of the hosted API look for (`success`, `errorCode`,
`message`, `details`, `context`, `error`).
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from linocut import errors
from linocut.errors import LinocutError, of_stored, to_stored
from linocut.server.limits import TooManyRequests

__all__ = [
    "ALL_CODES",
    "MEDIA_TYPE",
    "headers_of",
    "of_stored",
    "problem",
    "register",
    "respond",
    "status_of",
    "to_stored",
    "unexpected",
]

MEDIA_TYPE: Final = "application/problem+json"
MAX_ERRORS: Final = 32
NOT_IN_BODIES: Final = {
    **dict.fromkeys(("cursor", "search"), "query"),
    **dict.fromkeys(("Host", "Idempotency-Key", "Last-Event-ID", "Range"), "header"),
}
MAX_CHARACTERS: Final = 2000
MAX_WAIT: Final = 24 * 3600

_log: Final = logging.getLogger("linocut.server")


class Row(NamedTuple):
    """How a kind of error is answered, and what it means in a sentence."""

    status: int
    title: str


TABLE: Final[Mapping[type[LinocutError], Row]] = {
    LinocutError: Row(500, "Something went wrong in the server; the operator finds it in the log."),
    errors.InvalidRequest: Row(400, "A field is missing or has a value that is not allowed."),
    errors.InvalidBody: Row(400, "The body cannot be read as one JSON object."),
    errors.UnsupportedModel: Row(400, "The model or feature is not served here."),
    errors.InvalidPicture: Row(400, "A picture cannot be read or is outside the limits."),
    errors.CheckpointError: Row(503, "The server's checkpoint cannot be used."),
    errors.CheckpointNotFound: Row(503, "The server's checkpoint is not there."),
    errors.CheckpointInvalid: Row(503, "The server's checkpoint is not whole."),
    errors.DownloadRefused: Row(503, "The server's checkpoint could not be downloaded."),
    errors.DoesNotFit: Row(400, "The request needs more memory than this server has."),
    errors.OutputError: Row(500, "The picture was drawn but could not be saved."),
    errors.ContentRefused: Row(400, "A safety check refused the prompt or a picture."),
    errors.CheckFailed: Row(500, "A safety check of the server failed, so nothing is shown."),
    errors.ServiceError: Row(500, "The service could not do what was asked."),
    errors.InvalidKey: Row(401, "The API key is missing, unknown, expired or revoked."),
    errors.Forbidden: Row(403, "The API key may not do this."),
    errors.NotFound: Row(404, "There is nothing of that name that this key may see."),
    errors.MethodNotAllowed: Row(405, "The address does not take this method."),
    errors.Conflict: Row(409, "The thing is in a state in which this cannot be done."),
    errors.IdempotencyMismatch: Row(422, "The Idempotency-Key was used with another request."),
    errors.PayloadTooLarge: Row(413, "The body is larger than what is read here."),
    errors.UnsupportedMedia: Row(415, "The body has a type or charset that is not read here."),
    errors.Later: Row(503, "Not now; try again after the time in Retry-After."),
    errors.RateLimited: Row(429, "The key has sent too many requests; wait for Retry-After."),
    errors.QueueFull: Row(429, "The queue, or the key's share of it, is full for now."),
    errors.QuotaExceeded: Row(429, "The key has used up its drawing time for now."),
    errors.Unavailable: Row(503, "The server is starting, stopping, or without its database."),
    errors.StorageUnavailable: Row(503, "The place where pictures are kept does not answer."),
    errors.WorkerFailed: Row(500, "The process that draws failed, and trying again did not help."),
}
ALL_CODES: Final[Mapping[str, Row]] = {kind.code: row for kind, row in TABLE.items()}
_OF_STATUS: Final[Mapping[int, type[LinocutError]]] = {
    401: errors.InvalidKey,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    409: errors.Conflict,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMedia,
}


def status_of(error: LinocutError) -> int:
    """The HTTP status of an error."""
    return _row(error).status


def headers_of(error: LinocutError) -> dict[str, str]:
    """What the error's kind adds: Retry-After in whole seconds, RateLimit, WWW-Authenticate."""
    if isinstance(error, errors.Later):
        allowed = error.allowance.headers if isinstance(error, TooManyRequests) else {}
        wait = max(1, math.ceil(min(error.retry_after, MAX_WAIT)))
        return {"Retry-After": str(wait), **allowed}
    if isinstance(error, errors.InvalidKey):
        return {"WWW-Authenticate": 'Bearer realm="linocut"'}
    return {}


def problem(
    error: LinocutError, *, request_id: str, instance: str, status: int | None = None
) -> dict[str, Any]:
    """The body; `status` is told instead of the table's if it is given."""
    row = _row(error)
    message, code = _clean(error.message), error.code.upper()
    fields = [{"pointer": _clean(p), "message": _clean(said)} for p, said in _fields(error)]
    context = {n: getattr(error, n) for n in error.details if n not in {"field", "fields"}}
    told = [{"field": f["pointer"].rpartition("/")[2], "message": f["message"]} for f in fields]
    return {
        "type": f"urn:linocut:error:{error.code}",
        "title": row.title,
        "status": row.status if status is None else status,
        "detail": message,
        "instance": _clean(instance),
        "code": error.code,
        "hint": _clean(error.hint),
        "request_id": request_id,
        "errors": fields,
        "success": False,
        "errorCode": code,
        "message": message,
        "details": json.dumps(told or context),
        "context": context,
        "error": {"code": code, "message": message},
    }


def respond(error: LinocutError, request: Request) -> Response:
    """The whole answer; it tells `request.state.request_id`, which the app's guard has set."""
    return _respond(error, request)


def register(app: FastAPI) -> None:
    """Every error of the app is answered as a problem, those that nobody expected too."""
    app.add_exception_handler(LinocutError, _ours)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(ClientDisconnect, _of_client)
    app.add_exception_handler(Exception, unexpected)


def _respond(
    error: LinocutError,
    request: Request,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    body = problem(
        error,
        request_id=_request_id(request),
        instance=request.url.path,
        status=status,
    )
    counted = getattr(request.state, "allowance", None)  # where the key's rate was asked about
    left = counted.headers if counted else {}
    return JSONResponse(
        body,
        body["status"],
        headers={**left, **headers_of(error), **(headers or {})},
        media_type=MEDIA_TYPE,
    )


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, LinocutError)  # noqa: S101 - what it is registered for
    if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = {"request_id": _request_id(request), "code": error.code}
        _log.warning("answered %s: %s", error.code, error.message, extra=said)
    return respond(error, request)


async def _of_framework(request: Request, error: Exception) -> Response:
    """404, 405 and what else the framework itself refuses; its status and headers stay."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    headers = dict(error.headers or {})
    method, path = request.method, _clean(request.url.path)
    match error.status_code:
        case 404:
            message, hint = f"there is no {method} {path}", "the addresses are in /openapi.json"
        case 405:
            message, hint = f"{path} does not take {method}", ""
            hint = f"use {headers['Allow']}" if "Allow" in headers else ""
        case _:
            message, hint = str(error.detail), ""
    kind = _OF_STATUS.get(error.status_code, _nearest(error.status_code))
    found = kind(message, hint=hint)
    return _respond(found, request, status=error.status_code, headers=headers)


async def _of_parameters(request: Request, error: Exception) -> Response:
    """Queries, headers and path parameters; the input itself is never repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    fields = [
        (":".join(str(part) for part in one["loc"]), str(one["msg"]))
        for one in error.errors()[:MAX_ERRORS]
    ]
    message = "; ".join(f"{pointer}: {said}" for pointer, said in fields)
    return respond(errors.InvalidRequest(message, fields=fields), request)


async def _of_client(request: Request, error: Exception) -> Response:
    """Nobody reads this answer; it keeps a client that went away out of the log of faults."""
    del error
    return respond(errors.InvalidBody("the body ended before it was whole"), request)


async def unexpected(request: Request, error: Exception) -> Response:
    """A 500 that says nothing of the error; the log does.

    It has the route's template and never the path: that may hold words of a prompt.
    """
    request_id = _request_id(request)
    _log.error(
        "unexpected %s at %s %s",
        type(error).__name__,
        request.method,
        getattr(request.scope.get("route"), "path", "(none)"),
        exc_info=error,
        extra={"request_id": request_id},
    )
    told = LinocutError(
        "an error that was not expected; it is in the server's log",
        hint=f"tell the operator this request id: {request_id}",
    )
    return respond(told, request)


def _row(error: LinocutError) -> Row:
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def _nearest(status: int) -> type[LinocutError]:
    return LinocutError if status >= HTTPStatus.INTERNAL_SERVER_ERROR else errors.InvalidRequest


def _fields(error: LinocutError) -> Iterator[tuple[str, str]]:
    """(JSON pointer, message) of every field that the error names."""
    if not isinstance(error, errors.InvalidRequest):
        return
    named: Sequence[tuple[str, str]] = error.fields
    if not named and error.field:
        named = [(_pointer(error.field), error.message)]
    yield from named[:MAX_ERRORS]


def _pointer(field: str) -> str:
    if field in NOT_IN_BODIES:
        return f"{NOT_IN_BODIES[field]}:{field}"
    return field if field[0] == "#" else f"#/{field}"


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _clean(text: str) -> str:
    """The text as UTF-8 can carry it, and not without end."""
    return text.encode("utf-8", "replace").decode()[:MAX_CHARACTERS]
