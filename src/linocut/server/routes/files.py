"""`GET /files/{key}`: a stored picture, for whoever holds a signed link to it.

It is the picture as it was stored, and nothing that a browser would run.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from linocut.errors import InvalidRequest, NotFound
from linocut.jobs.record import StoredFile
from linocut.server import problems
from linocut.server.answers import service_of
from linocut.server.schemas import answers, sent_header

router = APIRouter(tags=["Pictures"])

HEADERS: Final = {
    "Accept-Ranges": "bytes",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    # The link is the permission: a page of any origin that was given one may show the picture.
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Referrer-Policy": "no-referrer",
}
READ: Final = [
    sent_header("Range", "A single range of bytes."),
    sent_header("If-Range", "The range counts for the file of this ETag only."),
    sent_header("If-None-Match", "The ETags that are there already."),
]
_PICTURES: Final = {
    f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
    for kind in ("webp", "png", "jpeg")
}
ANSWERS: Final = answers(None, 403, 404, 416, about="The file.") | {
    206: {"description": "A piece of it.", "content": _PICTURES},
    304: {"description": "It is the file that is there already."},
}
ANSWERS[200]["content"] = _PICTURES
_RANGE: Final = re.compile(r"bytes=\s*(\d{0,15})-(\d{0,15})\s*", re.ASCII)

Key = Annotated[str, Path(description="The picture's key, as in `resultObject`.")]
Exp = Annotated[str, Query(description="When the link expires, in seconds since 1970.")]
Kid = Annotated[str, Query(description="Which secret signed it.")]
Sig = Annotated[str, Query(description="The signature.")]


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to and without `end`, of `size`."""

    start: int
    end: int
    size: int

    @property
    def headers(self) -> dict[str, str]:
        """How long it is, and where it lies if it is not all."""
        where = {"Content-Range": f"bytes {self.start}-{self.end - 1}/{self.size}"}
        length = {"Content-Length": str(self.end - self.start)}
        return length if self.is_all else length | where

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return (self.start, self.end) == (0, self.size)


@router.get(
    "/files/{key:path}",
    operation_id="getFile",
    summary="A picture",
    response_class=StreamingResponse,
    responses=ANSWERS,
    openapi_extra={"parameters": READ},
)
async def picture(
    request: Request, key: Key, exp: Exp = "", kid: Kid = "", sig: Sig = ""
) -> Response:
    """The picture behind a `temporaryUrl`; no API key is asked for. Single ranges are served."""
    return await _served(request, key, _left(request, key, exp, kid, sig))


@router.head(
    "/files/{key:path}",
    operation_id="headFile",
    summary="What a picture's file is like",
    response_class=StreamingResponse,
    responses=ANSWERS,
    openapi_extra={"parameters": READ},
)
async def head(request: Request, key: Key, exp: Exp = "", kid: Kid = "", sig: Sig = "") -> Response:
    """The headers of `GET`."""
    return await _served(request, key, _left(request, key, exp, kid, sig))


def _left(request: Request, key: str, exp: str, kid: str, sig: str) -> int:
    signer = service_of(request).signer
    return signer.verify(key, exp=exp, kid=kid, sig=sig, now=time.time())


async def _served(request: Request, key: str, left: int) -> Response:
    service = service_of(request)
    file = await service.store.file(key)
    if file is None:
        raise NotFound("this picture was deleted", hint="the record that drew it is gone too")
    etag = f'"{file.sha256}"'
    headers = {
        **HEADERS,
        "ETag": etag,
        "Cache-Control": f"private, max-age={left}, immutable",
        "Content-Disposition": f'inline; filename="{PurePosixPath(file.key).name}"',
    }
    if _is_known(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    size = await service.pictures.size(key)
    span = span_of(_wanted(request, etag), size)
    if span is None:
        return _unsatisfiable(request, size)
    return await _sent(request, file, span, headers)


async def _sent(
    request: Request, file: StoredFile, span: Span, headers: dict[str, str]
) -> Response:
    status = 200 if span.is_all else 206
    headers = headers | span.headers
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=file.content_type)
    pieces = service_of(request).pictures.open_range(file.key, span.start, span.end)
    # Before the answer begins, so that a store that does not give the picture is told as an error.
    first = await anext(pieces, b"")
    return StreamingResponse(_all(first, pieces), status, headers, media_type=file.content_type)


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _wanted(request: Request, etag: str) -> str:
    """The range that is asked for, unless only for a file that this is not."""
    condition = request.headers.get("if-range")
    return request.headers.get("range", "") if condition in {None, etag} else ""


def span_of(text: str, size: int) -> Span | None:
    """What a Range header asks for; all of it where it asks for several or nothing we know.

    None: nothing of the file lies there.
    """
    found = _RANGE.fullmatch(text)
    if found is None or found[1] == found[2] == "":
        return Span(0, size, size)
    if found[1] == "":  # the last so many bytes
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return Span(0, size, size)
    return Span(start, end, size) if start < end else None


def _is_known(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    known = {each.strip().removeprefix("W/") for each in header.split(",")}
    return bool(known & {"*", etag})


def _unsatisfiable(request: Request, size: int) -> Response:
    error = InvalidRequest(f"the file has {size:,} bytes; none lies in that range", field="Range")
    said = problems.problem(
        error, request_id=request.state.request_id, instance=request.url.path, status=416
    )
    return JSONResponse(
        said,
        416,
        {**HEADERS, "Content-Range": f"bytes */{size}"},
        media_type=problems.MEDIA_TYPE,
    )
