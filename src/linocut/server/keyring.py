"""Who is calling: the key that was sent, looked up, compared, and judged.

Every refusal of a well-formed key says the same, after one lookup and one comparison, at a moment
that does not depend on how long these took: unknown, wrong, expired and revoked cannot be told
apart. Who keeps sending bad ones waits.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from linocut.errors import InvalidKey, RateLimited
from linocut.jobs.store import Store
from linocut.jobs.terms import ApiKey
from linocut.server.keys import SCOPES, KeyText, digest, includes, parse_key
from linocut.server.limits import WINDOW, Buckets

LOCAL: Final = "local"  # the tenant of the first key, and of everybody where there are no keys
BAD_A_MINUTE: Final = 30
TOUCH_SECONDS: Final = 600.0
FLOOR: Final = 0.025  # seconds, more than a lookup and a comparison take
JITTER: Final = 0.005
GRAIN: Final = 0.0015  # how late a timer of the event loop may be: it rounds up to a millisecond
HINT: Final = (
    "send it as API-KEY: <key> or Authorization: Bearer <key>; linocut keys add NAME makes one"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose request it is and what it may do, with the server's defaults filled in.

    rate: requests a minute; 0 for no limit.   share: places in the queue.
    """

    id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    rate: float
    share: int
    quota_seconds: float | None
    allow_unsafe: bool

    def may(self, scope: str) -> bool:
        """Whether the scope is among what the key may do."""
        return includes(self.scopes, scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDefaults:
    """What a key has that says nothing of its own; 0 means no limit."""

    rate: float = 180
    share: int = 50
    quota_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys of the store, and what their senders have lately been up to.

    is_open: nobody needs a key, and everybody is the local admin.
    """

    store: Store
    pepper: bytes
    defaults: KeyDefaults = KeyDefaults()
    is_open: bool = False
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    _bad: Buckets = field(default_factory=Buckets)
    _good: OrderedDict[str, float] = field(default_factory=OrderedDict)

    async def caller(self, text: str, address: str) -> Caller:
        """Who holds this key; InvalidKey if nobody does, RateLimited after too many bad ones."""
        if self.is_open:
            return self._filled(
                ApiKey(id=LOCAL, tenant=LOCAL, name=LOCAL, digest="", scopes=SCOPES,
                       rate=0.0, allow_unsafe=True)
            )  # fmt: skip
        if not text:
            raise InvalidKey("this needs an API key, and there is none", hint=HINT)
        begun = self.clock()
        key = parse_key(text)
        sent = digest(key or KeyText("", "-"), self.pepper)
        if sent not in self._good:
            self._refuse_floods(address)
        kept = await self.store.key(key.id) if key else None
        same = hmac.compare_digest(kept.digest if kept else "", sent)
        if kept is None or not same or not self._is_alive(kept):
            await self._count_bad(address, sent, begun)
            raise InvalidKey("this API key is not valid here", hint=HINT)
        await self._remember(kept.id, sent)
        return self._filled(kept)

    def _is_alive(self, key: ApiKey) -> bool:
        return key.revoked_at is None and (key.expires_at is None or key.expires_at > self.now())

    def _refuse_floods(self, address: str) -> None:
        bucket = self._bad.of(_neighbourhood(address), BAD_A_MINUTE, self._refill, self.clock())
        if bucket.tokens < 1:
            raise RateLimited(
                "too many bad API keys came from this address",
                retry_after=(1 - bucket.tokens) / self._refill,
                hint="wait, and check the key",
            )

    async def _count_bad(self, address: str, sent: str, begun: float) -> None:
        self._good.pop(sent, None)
        bucket = self._bad.of(_neighbourhood(address), BAD_A_MINUTE, self._refill, self.clock())
        bucket.tokens = max(0.0, bucket.tokens - 1)
        # The noise hides what a processor's caches may tell once the wait is over.
        await self._wait_until(begun + FLOOR + random.uniform(0, JITTER))  # noqa: S311 - no secret

    async def _wait_until(self, moment: float) -> None:
        # A timer ends whole milliseconds after it was set, and so would tell when the work was
        # done: a row that is found takes longer than none. The loop's turns end with the moment.
        await asyncio.sleep(max(0.0, moment - self.clock() - GRAIN))
        while self.clock() < moment:  # noqa: ASYNC110 - nothing happens that could be waited for
            await asyncio.sleep(0)

    async def _remember(self, name: str, sent: str) -> None:
        """It was good just now; the store hears of it once in a while."""
        last = self._good.get(sent)
        if last is None or self.clock() - last > TOUCH_SECONDS:
            self._good[sent] = self.clock()
            await self.store.touch_key(name)
        self._good.move_to_end(sent)
        if len(self._good) > self._bad.most:
            self._good.popitem(last=False)

    def _filled(self, key: ApiKey) -> Caller:
        share = self.defaults.share if key.share is None else key.share
        quota = self.defaults.quota_seconds if key.quota_seconds is None else key.quota_seconds
        return Caller(
            id=key.id,
            tenant=key.tenant,
            name=key.name,
            scopes=frozenset(key.scopes),
            rate=self.defaults.rate if key.rate is None else key.rate,
            share=share or 10**9,
            quota_seconds=quota or None,
            allow_unsafe=key.allow_unsafe,
        )

    @property
    def _refill(self) -> float:
        return BAD_A_MINUTE / WINDOW


def _neighbourhood(address: str) -> str:
    """The address; of IPv6 the /64, which one customer has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address
