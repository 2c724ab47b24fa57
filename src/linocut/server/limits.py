"""How often a key may ask: a token bucket each, in memory; and how long guessing takes.

A bucket holds a minute's requests and fills evenly, so that a burst is possible and a flood is not.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from linocut.errors import RateLimited

WINDOW: Final = 60.0
MOST_REMEMBERED: Final = 10_000
POLICY: Final = "create"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What is left: `remaining` of `limit` requests, and `reset` seconds until all are back.

    limit: 0 for no limit.
    """

    limit: float
    remaining: int
    reset: float

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-10); none without a limit."""
        if not self.limit:
            return {}
        return {
            "RateLimit-Policy": f'"{POLICY}";q={math.ceil(self.limit)};w={WINDOW:.0f}',
            "RateLimit": f'"{POLICY}";r={self.remaining};t={math.ceil(self.reset)}',
        }


class TooManyRequests(RateLimited):
    """RateLimited, with the allowance that it is about."""

    def __init__(self, message: str, *, retry_after: float, allowance: Allowance) -> None:
        super().__init__(message, retry_after=retry_after, hint="wait, or ask for a higher rate")
        self.allowance = allowance


@dataclass(slots=True)
class Bucket:
    """`tokens` at the time `at`; what it can hold and how fast it fills is said by who asks."""

    tokens: float
    at: float

    def fill(self, most: float, per_second: float, now: float) -> None:
        """Bring it up to the moment."""
        self.tokens = min(most, self.tokens + max(0.0, now - self.at) * per_second)
        self.at = now


@dataclass(slots=True)
class Buckets:
    """Buckets by name; the ones that were used longest ago are forgotten first."""

    most: int = MOST_REMEMBERED
    _kept: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def of(self, name: str, size: float, per_second: float, now: float) -> Bucket:
        """The bucket of a name, filled up to now; a new one is full."""
        bucket = self._kept.setdefault(name, Bucket(size, now))
        bucket.fill(size, per_second, now)
        self._kept.move_to_end(name)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return bucket


class Rated(Protocol):
    """Who asks: an `id`, and a `rate` of its own, if any."""

    @property
    def id(self) -> str:
        """What its bucket is called."""
        ...

    @property
    def rate(self) -> float | None:
        """Requests a minute; 0 for no limit, None for the usual one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limiter:
    """The rate of every key.

    rate: requests a minute of keys that have none of their own; 0 for no limit.
    """

    rate: float = 180
    clock: Callable[[], float] = time.monotonic
    _buckets: Buckets = field(default_factory=Buckets)

    async def take(self, key: Rated) -> Allowance:
        """One request counted; TooManyRequests, a RateLimited, where the key has none left."""
        limit = self.rate if key.rate is None else key.rate
        if limit <= 0:
            return Allowance(limit=0, remaining=0, reset=0.0)
        per_second = limit / WINDOW
        bucket = self._buckets.of(key.id, max(1.0, limit), per_second, self.clock())
        if bucket.tokens < 1:
            wait = (1 - bucket.tokens) / per_second
            raise TooManyRequests(
                f"this key may send {limit:g} requests a minute, and has sent them",
                retry_after=wait,
                allowance=Allowance(limit=limit, remaining=0, reset=wait),
            )
        bucket.tokens -= 1
        missing = (limit - bucket.tokens) / per_second
        return Allowance(limit=limit, remaining=int(bucket.tokens), reset=missing)
