"""What a data folder keeps to itself: `secrets.json`, made at the first start, mode 0600.

pepper: keys are stored as its HMAC.   links: ring of keys that sign links, by name; `link` is the
one that signs now.   cursor: signs the marks of pages.   webhook: signs deliveries (whsec_).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from linocut.errors import LinocutError
from linocut.jobs.folder import DataFolder

SIZE: Final = 32


class SecretsUnreadable(LinocutError):
    """The secrets' file is damaged, or others may read it."""

    code = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The secrets of one data folder; never shown, never logged."""

    pepper: bytes
    links: Mapping[str, bytes]
    link: str
    cursor: bytes
    webhook: str

    def __repr__(self) -> str:
        return "Secrets(…)"

    @classmethod
    def new(cls) -> Secrets:
        """Fresh ones."""
        kid = secrets.token_hex(4)
        return cls(
            pepper=secrets.token_bytes(SIZE),
            links={kid: secrets.token_bytes(SIZE)},
            link=kid,
            cursor=secrets.token_bytes(SIZE),
            webhook="whsec_" + base64.b64encode(secrets.token_bytes(SIZE)).decode(),
        )


def open_secrets(folder: Path) -> Secrets:
    """The folder's secrets, made if there are none yet."""
    path = DataFolder(folder).secrets
    if not path.exists():
        with contextlib.suppress(FileExistsError):  # another process was faster; its file holds
            _create(path, Secrets.new())
    return _read(path)


def _create(path: Path, made: Secrets) -> None:
    """Whole or not at all: written aside, then linked under its name."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            json.dump(_to_json(made), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    finally:
        aside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> Secrets:
    if path.stat().st_mode & 0o077:
        raise SecretsUnreadable(
            f"{path} can be read by other users of this computer", hint=f"chmod 600 {path}"
        )
    try:
        return _from_json(json.loads(path.read_text(encoding="ascii")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SecretsUnreadable(
            f"{path} is damaged: {type(error).__name__}", hint="take it back from a backup"
        ) from None


def _to_json(made: Secrets) -> dict[str, Any]:
    return {
        "pepper": made.pepper.hex(),
        "links": {kid: key.hex() for kid, key in made.links.items()},
        "link": made.link,
        "cursor": made.cursor.hex(),
        "webhook": made.webhook,
    }


def _from_json(found: dict[str, Any]) -> Secrets:
    links = {str(kid): bytes.fromhex(key) for kid, key in found["links"].items()}
    made = Secrets(
        pepper=bytes.fromhex(found["pepper"]),
        links=links,
        link=str(found["link"]),
        cursor=bytes.fromhex(found["cursor"]),
        webhook=str(found["webhook"]),
    )
    if min(map(len, (made.pepper, made.cursor, links[made.link]))) < SIZE:
        raise ValueError("a key is too short")
    return made
