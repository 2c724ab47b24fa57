"""The pictures that a request brings along: found, checked, and kept where the worker reads them.

An asset key counts only for its own tenant; an address is fetched under guard; a data URI is
decoded. What a stranger sent is encoded anew before anything is stored. One is held at a time:
each is stored before the next is looked for, and forgotten if that one is refused.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from linocut.errors import Forbidden, InvalidPicture, InvalidRequest, LinocutError, NotFound
from linocut.images.fetch import fetch_picture
from linocut.images.guard import Normalised
from linocut.images.keys import storage_key
from linocut.images.store import forget
from linocut.jobs.record import StoredFile
from linocut.server.context import Service
from linocut.server.dialects.features import Reference, Source
from linocut.server.holding import Room

KIND: Final = "reference"
UPLOAD: Final = "upload"
FILES: Final = "/files/"


@dataclass(frozen=True, slots=True)
class Gathered:
    """The references in the order of their sources. `own`: keys stored for this request alone."""

    references: tuple[Reference, ...] = ()
    own: tuple[str, ...] = field(default=())


async def gather(
    service: Service, tenant: str, sources: Sequence[Source], *, here: str = ""
) -> Gathered:
    """Every source as a stored picture; InvalidPicture or InvalidRequest names the field.

    here: how links of this server begin, so that it reads its own pictures without a detour.
    """
    references: list[Reference] = []
    own: list[str] = []
    try:
        for source in sources:
            with service.holding.room(tenant) as room:
                found = await _find(service, tenant, source, here, room)
                if isinstance(found, Normalised):
                    stored = await keep(service, tenant, found, kind=KIND)
                    own.append(stored.key)
                    found = Reference(stored.key, stored.width, stored.height)
                references.append(found)
    except LinocutError:
        await discard(service, tenant, own)
        raise
    return Gathered(tuple(references), tuple(own))


async def keep(
    service: Service, tenant: str, picture: Normalised, *, kind: str, name: str = ""
) -> StoredFile:
    """The picture in the store, and the database knows it: the bytes first, then the row."""
    now = time.time()
    key = storage_key(now, service.settings.prefix, _stem(name) or kind, picture.extension)
    file = StoredFile(
        key=key,
        tenant=tenant,
        kind=kind,
        content_type=picture.content_type,
        size=len(picture.file),
        sha256=picture.sha256,
        width=picture.width,
        height=picture.height,
        original_name=name,
        created_at=now,
    )
    await service.pictures.put(key, picture.file)
    try:
        await service.store.add_file(file)
    except LinocutError:
        await forget(service.pictures, [key])
        raise
    return file


async def discard(service: Service, tenant: str, keys: Iterable[str]) -> None:
    """Forget what was stored for a request that was not taken."""
    gone = []
    with suppress(LinocutError):  # the sweeper removes what is left, a day later
        for key in keys:
            await service.store.delete_file(tenant, key)
            gone.append(key)
    await forget(service.pictures, gone)


async def normalised(
    service: Service, tenant: str, data: bytes, name: str, room: Room
) -> Normalised:
    """A stranger's picture as ours; `room` has its bytes, and gets those of what came of it."""
    picture = await service.guard.normalise(data, name, owner=tenant)
    room.take(len(picture.file))
    return picture


async def _find(
    service: Service, tenant: str, source: Source, here: str, room: Room
) -> Reference | Normalised:
    try:
        if source.kind == "asset":
            return await _asset(service, tenant, source, room)
        data = await _bytes(service, source, here, room)
        return await normalised(service, tenant, data, f"the picture in {_name(source)}", room)
    except InvalidPicture as error:
        raise InvalidPicture(error.message, field=source.pointer, hint=error.hint) from error
    except (Forbidden, NotFound) as error:  # a link of ours, but forged, expired or dead
        raise InvalidRequest(
            f"{_name(source)}: {error.message}", field=source.pointer, hint=error.hint
        ) from error


async def _asset(
    service: Service, tenant: str, source: Source, room: Room
) -> Reference | Normalised:
    """An upload as it stands. A drawn picture is copied: its own record may be deleted."""
    file = await service.store.file(source.text)
    if file is None or file.tenant != tenant:
        raise _no_asset(source)
    if file.kind == UPLOAD:
        return Reference(file.key, file.width, file.height)
    try:
        data = await _stored(service, file.key, room)
    except NotFound as error:
        raise _no_asset(source) from error
    return await normalised(service, tenant, data, f"the picture in {_name(source)}", room)


async def _bytes(service: Service, source: Source, here: str, room: Room) -> bytes:
    """The bytes of a stranger's picture, which `room` has."""
    if source.kind == "data":
        room.take(len(source.text) * 3 // 4)
        return await asyncio.to_thread(source.decoded, service.settings.max_upload)
    if key := _own_key(service, source.text, here):
        return await _stored(service, key, room)
    return await fetch_picture(source.text, service.fetching, hold=room.take)


async def _stored(service: Service, key: str, room: Room) -> bytes:
    room.take(await service.pictures.size(key))
    return await service.pictures.read(key)


def _own_key(service: Service, url: str, here: str) -> str:
    """The key in a link that this server signed and that still holds; "" for other addresses."""
    if not here or not url.startswith(here + FILES):
        return ""
    parts = urlsplit(url)
    key = unquote(parts.path.removeprefix(urlsplit(here).path + FILES))
    asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
    service.signer.verify(
        key,
        exp=asked.get("exp", ""),
        kid=asked.get("kid", ""),
        sig=asked.get("sig", ""),
        now=time.time(),
    )
    return key


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def _name(source: Source) -> str:
    """The field as callers write it."""
    return source.pointer.removeprefix("#/promptObject/")


def _no_asset(source: Source) -> InvalidRequest:
    return InvalidRequest(
        f"{_name(source)}: there is no such picture among yours",
        field=source.pointer,
        hint="upload it by POST /api/assets and send fileContent.path, or send a URL or a data URI",
    )
