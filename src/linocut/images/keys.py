"""The names of stored pictures: `images/2026_03_27_10_00_04_001_x7k2pq_coffee_shop.webp`.

A key is what the world sees as `resultObject`; it is made once and never trusted back: whoever
reads by a key asks `parts_of` first.
"""

from __future__ import annotations

import re
import secrets
import string
import unicodedata
from datetime import UTC, datetime
from typing import Final

from linocut.errors import NotFound

MAX_SLUG: Final = 40
MAX_KEY: Final = 400
MAX_PARTS: Final = 8
_PART: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,126}", re.ASCII)
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}", re.ASCII)
_LETTERS: Final = string.ascii_lowercase + string.digits


def storage_key(now: float, prefix: str, name: str, extension: str) -> str:
    """A new key for a picture of this time, whose tail tells people what it is.

    now: seconds since 1970.   prefix: "" or folders with a slash at the end, as "development/".
    name: a prompt or a file's name; of anything that is not Latin only the letters beneath the
    accents remain.   extension: without a dot.
    """
    if _EXTENSION.fullmatch(extension) is None:
        raise ValueError(f"extension={extension!r}: use one like webp")
    time = datetime.fromtimestamp(now, UTC)
    stamp = f"{time:%Y_%m_%d_%H_%M_%S}_{time.microsecond // 1000:03}"
    chance = "".join(secrets.choice(_LETTERS) for _ in range(6))
    key = f"{prefix}images/{stamp}_{chance}_{slug(name)}.{extension}"
    try:
        parts_of(key)
    except NotFound as error:
        raise ValueError(f"prefix={prefix!r}: use folders of letters, as development/") from error
    return key


def slug(name: str) -> str:
    """At most 40 characters of a-z, 0-9 and _ that remind of the name; "picture" without any."""
    letters = unicodedata.normalize("NFKD", name[:1000]).lower()
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = re.findall(r"[a-z0-9]+", plain)
    return "_".join(words)[:MAX_SLUG].strip("_") or "picture"


def parts_of(key: str) -> tuple[str, ...]:
    """The key's folders and its file's name; NotFound for what cannot be the key of a picture.

    Parts hold letters, digits and `._-`, and begin with no dot: there is no way up or out.
    """
    parts = tuple(key.split("/"))
    if (
        len(key) > MAX_KEY
        or len(parts) > MAX_PARTS
        or not all(_PART.fullmatch(part) for part in parts)
    ):
        raise NotFound("there is no such picture: this is not how a key looks")
    return parts
