"""Links that work without a key until they expire: `exp`, `kid` and `sig` behind a file's address.

sig is HMAC-SHA-256 over "v1\\nGET\\nKEY\\nEXP\\nKID", in base64url. It covers the very text of the
link, compared as text, so that every link has exactly one spelling. A secret is retired by taking
it out of the ring: links that were signed with it are refused from then on.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from linocut.errors import Forbidden

MAX_SECONDS: Final = 7 * 24 * 3600  # as long as S3's own links last
MIN_SECRET: Final = 32
_EXPIRY: Final = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)
_KID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_HINT: Final = "read the record again: every answer carries a fresh link"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the secret `current` of the ring, and believes all of the ring.

    ring: secrets of 32 bytes and more by their short public names (`kid`).
    """

    ring: Mapping[str, bytes] = field(repr=False)
    current: str

    def __post_init__(self) -> None:
        if self.current not in self.ring:
            raise ValueError(f"current={self.current!r}: the ring has no such secret")
        for kid, secret in self.ring.items():
            if _KID.fullmatch(kid) is None:
                raise ValueError(f"kid={kid!r}: use up to 32 letters, digits, _ and -")
            if len(secret) < MIN_SECRET:
                raise ValueError(f"the secret {kid!r} has {len(secret)} bytes, not {MIN_SECRET}")

    def sign(self, key: str, *, now: float, seconds: int) -> str:
        """The link's query, "exp=…&kid=…&sig=…": good for this many seconds, at most 7 days."""
        if not 1 <= seconds <= MAX_SECONDS:
            raise ValueError(f"seconds={seconds}: use 1 to {MAX_SECONDS}, which is 7 days")
        exp = str(int(now) + seconds)
        return f"exp={exp}&kid={self.current}&sig={self._signature(key, exp, self.current)}"

    def verify(self, key: str, *, exp: str, kid: str, sig: str, now: float) -> int:
        """The seconds for which the link still holds; Forbidden if it is not ours or expired."""
        if kid not in self.ring or _EXPIRY.fullmatch(exp) is None:
            raise _forged()
        ours = self._signature(key, exp, kid).encode()
        if not hmac.compare_digest(ours, sig.encode(errors="backslashreplace")):
            raise _forged()
        left = int(exp) - int(now)
        if left <= 0:
            raise Forbidden("this link has expired", hint=_HINT)
        return left

    def _signature(self, key: str, exp: str, kid: str) -> str:
        text = f"v1\nGET\n{key}\n{exp}\n{kid}".encode(errors="backslashreplace")
        digest = hmac.digest(self.ring[kid], text, "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _forged() -> Forbidden:
    return Forbidden("this link was not signed here, or was changed on its way", hint=_HINT)
