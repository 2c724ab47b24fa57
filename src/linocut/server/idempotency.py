"""The `Idempotency-Key` header, and what must be the same when it is used again.

The key leads to the record: whoever sends the same request again gets the record as it is now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from linocut.errors import InvalidRequest

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
MAX_CHARACTERS: Final = 255


def key_in(header: str | None) -> str:
    """The key, without the quotes that the draft puts around it; "" if none was sent."""
    if header is None:
        return ""
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 1 <= len(key) <= MAX_CHARACTERS or not all("!" <= letter <= "~" for letter in key):
        raise InvalidRequest(
            f"{HEADER}: use 1 to {MAX_CHARACTERS} printable ASCII characters without spaces",
            field=HEADER,
            hint="a fresh UUID for every picture is a good key",
        )
    return key


def fingerprint(route: str, body: Mapping[str, Any]) -> str:
    """A digest of the route and of the body's JSON, whatever the order of its fields."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"{route}\n{canonical}".encode()).hexdigest()
