"""Where a page of history ends, as a mark that the caller hands back to get the next one.

A mark is signed for its tenant: what a stranger makes up, or takes from somebody else, is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from linocut.errors import InvalidRequest

_TAG: Final = 12


def cursor_of(record_id: str, *, tenant: str, secret: bytes) -> str:
    """The mark behind this record."""
    raw = record_id.encode()
    return base64.urlsafe_b64encode(_tag(raw, tenant, secret) + raw).rstrip(b"=").decode()


def record_before(cursor: str, *, tenant: str, secret: bytes) -> str:
    """The id of the record that the mark stands behind; InvalidRequest if we did not make it."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _refused() from error
    tag, raw = found[:_TAG], found[_TAG:]
    if not hmac.compare_digest(tag, _tag(raw, tenant, secret)):
        raise _refused()
    return raw.decode()


def _tag(raw: bytes, tenant: str, secret: bytes) -> bytes:
    named = b"\n".join((b"cursor", tenant.encode(errors="surrogatepass"), raw))
    return hmac.digest(secret, named, hashlib.sha256)[:_TAG]


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "cursor: this is no mark that a page of yours ended with",
        field="cursor",
        hint="take next_cursor of the page before, or leave it out to begin anew",
    )
