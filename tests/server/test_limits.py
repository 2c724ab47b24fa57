"""A bucket a key: a burst is served, a flood waits, and the headers say so."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import RateLimited
from linocut.server.limits import Allowance, Buckets, Limiter, TooManyRequests


@dataclass(frozen=True)
class Key:
    """Who asks."""

    id: str = "a"
    rate: float | None = None


class Clock:
    """A time that is set by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The test's own time."""
    return Clock()


def take(limiter: Limiter, key: Key) -> Allowance:
    """One request."""
    return asyncio.run(limiter.take(key))


def test_a_minute_s_requests_may_come_at_once_and_no_more(clock: Clock) -> None:
    limiter = Limiter(rate=3, clock=clock)
    assert [take(limiter, Key()).remaining for _ in range(3)] == [2, 1, 0]
    with pytest.raises(RateLimited, match="3 requests a minute") as caught:
        take(limiter, Key())
    assert caught.value.retry_after == pytest.approx(20)


def test_waiting_as_long_as_it_says_is_enough(clock: Clock) -> None:
    limiter = Limiter(rate=3, clock=clock)
    for _ in range(3):
        take(limiter, Key())
    with pytest.raises(TooManyRequests) as caught:
        take(limiter, Key())
    clock.now += caught.value.retry_after + 0.001
    assert take(limiter, Key()).remaining == 0


def test_one_key_does_not_use_up_another_s(clock: Clock) -> None:
    limiter = Limiter(rate=1, clock=clock)
    take(limiter, Key("a"))
    assert take(limiter, Key("b")).remaining == 0
    with pytest.raises(RateLimited):
        take(limiter, Key("a"))


def test_a_key_s_own_rate_counts_more(clock: Clock) -> None:
    limiter = Limiter(rate=1, clock=clock)
    assert take(limiter, Key(rate=10)).limit == 10


def test_no_limit_is_none_and_says_nothing(clock: Clock) -> None:
    limiter = Limiter(rate=1, clock=clock)
    for _ in range(5):
        allowance = take(limiter, Key(rate=0))
    assert allowance.headers == {}


def test_less_than_one_a_minute_is_possible(clock: Clock) -> None:
    limiter = Limiter(clock=clock)
    take(limiter, Key(rate=0.5))
    with pytest.raises(RateLimited) as caught:
        take(limiter, Key(rate=0.5))
    assert caught.value.retry_after == pytest.approx(120)


def test_the_headers_are_those_of_the_draft(clock: Clock) -> None:
    allowance = take(Limiter(rate=60, clock=clock), Key())
    assert allowance.headers == {
        "RateLimit-Policy": '"create";q=60;w=60',
        "RateLimit": '"create";r=59;t=1',
    }


def test_a_clock_that_goes_back_takes_nothing_away(clock: Clock) -> None:
    limiter = Limiter(rate=5, clock=clock)
    take(limiter, Key())
    clock.now -= 100
    assert take(limiter, Key()).remaining == 3


def test_buckets_are_not_kept_for_ever() -> None:
    buckets = Buckets(most=2)
    buckets.of("a", 5, 1, now=0).tokens = 0
    for name in ("b", "c"):
        buckets.of(name, 5, 1, now=0)
    assert buckets.of("a", 5, 1, now=0).tokens == 5


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_more_than_a_bucket_and_its_refill_ever_gets_through(waits: list[float]) -> None:
    clock, served = Clock(), 0
    limiter = Limiter(rate=6, clock=clock)
    begin = clock.now
    for wait in waits:
        clock.now += wait
        try:
            take(limiter, Key())
        except RateLimited:
            continue
        served += 1
    assert served <= 6 + (clock.now - begin) / 10 + 1e-6
