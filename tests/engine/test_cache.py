"""What is remembered, and what is forgotten first."""

from __future__ import annotations

import threading

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from linocut.engine.cache import ContentCache

KIB = torch.zeros(256)  # fp32: 1024 bytes


def never() -> Tensor:
    raise AssertionError


def remembered(cache: ContentCache, *parts: bytes) -> bool:
    """Whether an entry is there; asking makes it the youngest, or puts a new one there."""
    made = []
    cache.get(parts, lambda: made.append(None) or KIB.clone())  # type: ignore[func-returns-value]
    return not made


def test_an_entry_is_made_once() -> None:
    cache = ContentCache(1 << 20)
    first = cache.get((b"a", b"b"), lambda: torch.ones(3))
    assert cache.get((b"a", b"b"), never) is first
    assert len(cache) == 1


@given(st.lists(st.binary(max_size=3), max_size=4), st.lists(st.binary(max_size=3), max_size=4))
def test_different_contents_are_different_entries(one: list[bytes], other: list[bytes]) -> None:
    cache = ContentCache(1 << 20)
    cache.get(tuple(one), lambda: torch.zeros(1))
    found = cache.get(tuple(other), lambda: torch.ones(1))
    assert (found.item() == 0) == (one == other)


def test_parts_are_not_run_together() -> None:
    cache = ContentCache(1 << 20)
    cache.get((b"ab", b"c"), lambda: KIB)
    assert not remembered(cache, b"a", b"bc")


def test_the_oldest_is_forgotten_first_and_asking_makes_young() -> None:
    cache = ContentCache(2 * 1024)
    for name in (b"a", b"b"):
        cache.get((name,), KIB.clone)
    cache.get((b"a",), never)
    cache.get((b"c",), KIB.clone)
    assert len(cache) == 2
    cache.get((b"a",), never)
    cache.get((b"c",), never)
    assert not remembered(cache, b"b")


def test_one_entry_is_kept_however_large() -> None:
    cache = ContentCache(10)
    cache.get((b"a",), KIB.clone)
    cache.get((b"a",), never)
    cache.get((b"b",), KIB.clone)
    cache.get((b"b",), never)
    assert len(cache) == 1


def test_a_failure_is_not_remembered() -> None:
    cache = ContentCache(1 << 20)
    try:
        cache.get((b"a",), never)
    except AssertionError:
        assert len(cache) == 0
    assert not remembered(cache, b"a")


def test_two_threads_may_ask_at_once_and_neither_waits_for_the_other() -> None:
    cache, together = ContentCache(1 << 20), threading.Barrier(2, timeout=60)
    found: list[Tensor] = []

    def make() -> Tensor:
        together.wait()  # passed only if both make it at the same time
        return torch.ones(3)

    threads = [
        threading.Thread(target=lambda: found.append(cache.get((b"a",), make))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(*found)
    assert len(cache) == 1
