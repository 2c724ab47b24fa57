"""`/api/assets`: pictures are uploaded, to be used as references by their keys, and deleted."""

from __future__ import annotations

import re
import secrets
import unicodedata
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from linocut.errors import (
    InvalidBody,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    UnsupportedMedia,
)
from linocut.images.keys import parts_of
from linocut.images.store import forget
from linocut.jobs.record import StoredFile
from linocut.server import schemas
from linocut.server.answers import base_url, link, service_of, too_old
from linocut.server.auth import Drawer
from linocut.server.body import check_charset
from linocut.server.dialects.features_record import moment
from linocut.server.holding import Room
from linocut.server.keyring import Caller
from linocut.server.references import UPLOAD, keep, normalised
from linocut.server.schemas import AssetAnswer, answers

router = APIRouter(tags=["Pictures"])

FIELD: Final = "asset"
MOST_FIELDS: Final = 8
MOST_NAME: Final = 200


@router.post(
    "/api/assets",
    operation_id="uploadAsset",
    summary="Upload a reference picture",
    responses=answers(AssetAnswer, 401, 403, 415, 429, about="It is stored."),
    openapi_extra=schemas.UPLOAD,
)
async def upload(request: Request, caller: Drawer) -> Response:
    """A PNG, JPEG or WebP as the multipart field `asset`; `fileContent.path` is its key.

    It is stored upright and without the metadata it came with.
    """
    service = service_of(request)
    allowance = await service.limiter.take(caller)
    request.state.allowance = allowance
    with service.holding.room(caller.tenant) as room:
        data, name = await _sent(request, service.settings.max_upload, room)
        picture = await normalised(service, caller.tenant, data, name or "the upload", room)
        file = await keep(service, caller.tenant, picture, kind=UPLOAD, name=name)
    address, until = link(service, file.key, base_url(request)), too_old(service, file.created_at)
    answer = asset_of(file, caller, address, kept_until=until)
    return JSONResponse(answer, headers=allowance.headers)


@router.delete(
    "/api/assets/{key:path}",
    operation_id="deleteAsset",
    summary="Delete an upload",
    status_code=204,
    responses=answers(None, 401, 403, 404, 429, status=204, about="It is gone."),
)
async def delete(
    request: Request,
    caller: Drawer,
    key: Annotated[str, Path(description="`fileContent.path` of the upload.")],
) -> Response:
    """Gone for good. A request that uses it and is not drawn yet will fail."""
    service = service_of(request)
    file = await service.store.file(key) if _is_key(key) else None
    if file is None or file.tenant != caller.tenant or file.kind != UPLOAD:
        raise NotFound(
            "there is no upload of this key",
            hint="a picture that was drawn goes with its record: DELETE /api/records/{uuid}",
        )
    await service.store.delete_file(caller.tenant, key)
    await forget(service.pictures, [key])
    return Response(status_code=204)


def _is_key(text: str) -> bool:
    try:
        parts_of(text)
    except NotFound:
        return False
    return True


async def _sent(request: Request, most: int, room: Room) -> tuple[bytes, str]:
    """The bytes of the field `asset`, and the name that its file had.

    They come to a file on the disk; `room` has them from when they are read from there.
    """
    said = request.headers.get("content-type", "")
    if said.partition(";")[0].strip().lower() != "multipart/form-data":
        raise UnsupportedMedia(
            "an upload comes as multipart/form-data",
            hint=f"curl --form '{FIELD}=@picture.png' sends it so",
        )
    check_charset(said)  # names are decoded by it, and some of Python's codecs raise what they like
    try:
        async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
            sent = form.get(FIELD)
            if not isinstance(sent, UploadFile):
                raise InvalidRequest(
                    f"the file is expected in the field {FIELD!r}",
                    field=FIELD,
                    hint=f"curl --form '{FIELD}=@picture.png' sends it so",
                )
            room.take(min(sent.size or 0, most + 1))
            data = await sent.read(most + 1)
            name = plain_name(sent.filename or "")
    except (MultiPartException, FormParserError) as error:
        raise InvalidBody("the body is no multipart form that can be read") from error
    if len(data) > most:
        raise PayloadTooLarge(f"the picture has over {most:,} bytes", hint="make it smaller")
    return data, name


def plain_name(name: str) -> str:
    """A file's name for people to recognise: without folders and signs that cannot be seen."""
    last = PurePosixPath(name.replace("\\", "/")).name
    seen = "".join(sign for sign in last if unicodedata.category(sign)[0] != "C")
    name = re.sub(r"\s+", " ", seen).strip()[:MOST_NAME]
    return name if name.strip(".") else ""


def asset_of(
    file: StoredFile, caller: Caller, address: str, *, kept_until: float | None
) -> dict[str, Any]:
    """The answer in the hosted shape; what speaks of a bucket there speaks of this store here."""
    name = file.original_name or PurePosixPath(file.key).name
    return {
        "asset": {
            "fieldname": FIELD,
            "originalname": name,
            "encoding": "7bit",
            "mimetype": file.content_type,
            "size": file.size,
            "bucket": "linocut",
            "key": file.key,
            "acl": "private",
            "contentType": file.content_type,
            "contentDisposition": None,
            "contentEncoding": None,
            "storageClass": "STANDARD",
            "serverSideEncryption": None,
            "metadata": {
                "team-id": caller.tenant,
                "user-id": caller.id,
                "fieldname": FIELD,
                "originalname": name,
                "width": file.width,
                "height": file.height,
                "kept_until": None if kept_until is None else moment(kept_until),
            },
            "location": address,
            "etag": f'"{file.sha256}"',
        },
        "fileContent": {
            "uuid": secrets.token_hex(16),
            "path": file.key,
            "type": PurePosixPath(file.key).suffix.removeprefix("."),
            "name": name,
            "content": None,
            "status": "ACTIVE",
            "metadata": {"token": 0, "character": 0},
            "createdAt": moment(file.created_at),
        },
    }
