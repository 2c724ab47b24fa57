"""API keys as texts: `lino_<8 id>_<43 secret><6 check>`, of digits and letters alone.

The id is for looking up, the secret has 256 bits, and the check (a CRC-32) lets scanners of
leaked secrets know one when they see it. What is stored is an HMAC under the server's pepper.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "lino"
LETTERS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH: Final = 8
SECRET_LENGTH: Final = 43  # 62^43 > 2^256
CHECK_LENGTH: Final = 6  # 62^6 > 2^32
SCOPES: Final = ("read", "generate", "admin")  # each includes those before it

_FORM: Final = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})"
    rf"_([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECK_LENGTH}}})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key as its owner holds it. `text` is shown once and never stored."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"KeyText(id={self.id!r})"


def new_key() -> KeyText:
    """A key that nobody has."""
    name, secret = _draw(ID_LENGTH), _draw(SECRET_LENGTH)
    body = f"{PREFIX}_{name}_{secret}"
    return KeyText(name, body + _check(body))


def parse_key(text: str) -> KeyText | None:
    """The key in a text; None for anything that is no key, or one with a typing error."""
    found = _FORM.fullmatch(text)
    if found is None or _check(text[:-CHECK_LENGTH]) != found[3]:
        return None
    return KeyText(found[1], text)


def digest(key: KeyText, pepper: bytes) -> str:
    """What is stored of a key."""
    return hmac.new(pepper, key.text.encode("ascii"), hashlib.sha256).hexdigest()


def includes(scopes: frozenset[str], wanted: str) -> bool:
    """Whether scopes allow what `wanted` names: admin may generate, generate may read."""
    return bool(scopes & set(SCOPES[SCOPES.index(wanted) :]))


def _draw(count: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(count))


def _check(body: str) -> str:
    number, letters = zlib.crc32(body.encode("ascii")), ""
    for _ in range(CHECK_LENGTH):
        number, at = divmod(number, len(LETTERS))
        letters = LETTERS[at] + letters
    return letters
