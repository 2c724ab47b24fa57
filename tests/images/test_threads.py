"""Threads that may be left behind: what hangs holds up nobody else, and not the end."""

from __future__ import annotations

import _thread
import asyncio
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import far_peer
import pytest

from linocut.images.threads import Threads


class TooManyError(Exception):
    """Refused."""


class Gate:
    """A call that waits in its thread until it is let through."""

    def __init__(self) -> None:
        self.opened, self.entered = threading.Event(), threading.Semaphore(0)
        self.inside = self.most_inside = 0
        self._lock = threading.Lock()

    def __call__(self, answer: Any = None) -> Any:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        self.entered.release()
        self.opened.wait()
        with self._lock:
            self.inside -= 1
        return answer


def threads(**said: Any) -> Threads:
    return Threads(TooManyError, **said)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """The story, which has a minute."""

    async def told() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(told())


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - threads ring no bell here
        await asyncio.sleep(0.01)


async def left_behind(pool: Threads, gate: Gate, count: int = 1) -> None:
    """So many calls hang in the pool, and nobody waits for them."""
    for _ in range(count):
        call = asyncio.create_task(pool.run(gate))
        await until(lambda: gate.entered.acquire(blocking=False))
        call.cancel()
        await asyncio.wait({call})


def test_what_a_call_answers_or_raises_comes_back() -> None:
    async def story() -> None:
        pool = threads()
        assert await pool.run(divmod, 17, 5) == (3, 2)
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 17, 0)
        assert await asyncio.gather(*(pool.run(pow, n, 2) for n in range(100))) == [
            n * n for n in range(100)
        ]

    run(story)


def test_only_so_many_are_at_work_and_the_others_have_their_turn() -> None:
    async def story() -> None:
        pool, gate = threads(most=3), Gate()
        calls = [asyncio.create_task(pool.run(gate, n)) for n in range(20)]
        await until(lambda: gate.inside == 3)
        gate.opened.set()
        assert await asyncio.gather(*calls) == list(range(20))
        assert gate.most_inside == 3

    run(story)


def test_what_hangs_keeps_no_place() -> None:
    async def story() -> None:
        pool, gate = threads(most=1), Gate()
        await left_behind(pool, gate, 5)
        assert pool.num_left == 5
        assert await pool.run(pow, 2, 3) == 8
        gate.opened.set()
        await until(lambda: pool.num_left == 0)
        assert await pool.run(pow, 2, 3) == 8

    run(story)


def test_who_waits_in_line_behind_a_call_that_is_left_has_its_turn() -> None:
    async def story() -> None:
        pool, gate = threads(most=1), Gate()
        hangs = asyncio.create_task(pool.run(gate))
        waits = asyncio.create_task(pool.run(pow, 2, 3))
        await until(lambda: gate.inside == 1)
        assert not waits.done()
        hangs.cancel()
        assert await waits == 8
        gate.opened.set()

    run(story)


def test_who_leaves_the_line_is_never_called_and_nothing_of_it_is_kept() -> None:
    class Picture:
        """Something large."""

    async def story() -> None:
        pool, gate, called = threads(most=1), Gate(), []
        hangs = asyncio.create_task(pool.run(gate))
        await until(lambda: gate.inside == 1)
        picture = Picture()
        seen = weakref.ref(picture)
        waits = asyncio.create_task(pool.run(called.append, picture))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait({waits})
        del picture, waits
        gc.collect()
        assert seen() is None
        gate.opened.set()
        await hangs
        assert await pool.run(pow, 2, 3) == 8
        assert called == []

    run(story)


def test_where_too_many_hang_the_next_is_refused_until_one_comes_back() -> None:
    async def story() -> None:
        pool, gate, last = threads(most=2, spare=3, pause=3600), Gate(), Gate()
        await left_behind(pool, gate, 2)
        await left_behind(pool, last)
        for _ in range(10):
            with pytest.raises(TooManyError):
                await pool.run(pow, 2, 3)
        assert pool.num_left == 3
        last.opened.set()
        await until(lambda: pool.num_left == 2)
        assert await pool.run(pow, 2, 3) == 8
        gate.opened.set()

    run(story)


def test_what_was_mended_is_noticed_though_nothing_that_hung_comes_back() -> None:
    async def story() -> None:
        pool, gate = threads(most=2, spare=3, pause=0.05), Gate()
        await left_behind(pool, gate, 3)
        async with asyncio.timeout(30):
            while True:
                try:
                    assert await pool.run(pow, 2, 3) == 8
                    break
                except TooManyError:
                    await asyncio.sleep(0.01)
        gate.opened.set()

    run(story)


def test_what_hangs_for_long_takes_ever_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    async def story() -> None:
        nonlocal now
        pool, gate, begun = threads(most=1, spare=1, pause=60), Gate(), []
        for minute in range(60):
            now = minute * 60.0
            try:
                waits = asyncio.ensure_future(pool.run(gate))
                await asyncio.sleep(0)
                if waits.done():
                    waits.result()
                waits.cancel()
                await asyncio.wait({waits})
                begun.append(minute)
            except TooManyError:
                pass
        assert begun == [0, 1, 3, 6, 10, 15, 21, 28, 36, 45, 55]
        gate.opened.set()

    asyncio.run(story())


def test_a_system_without_threads_is_refused_like_a_disk_that_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        pool = threads()
        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", none)
            with pytest.raises(TooManyError):
                await pool.run(pow, 2, 3)
        assert await pool.run(pow, 2, 3) == 8

    run(story)


HANGS = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from far_peer import ask
from linocut.images.threads import Threads

async def main():
    pool = Threads(TimeoutError)
    try:
        async with asyncio.timeout(0.2):
            await asyncio.gather(*(pool.run(ask, ("127.0.0.1", int(sys.argv[1]))) for _ in "123"))
    except TimeoutError:
        print("left", pool.num_left)

asyncio.run(main())
print("ends")
"""


def test_a_program_ends_though_its_threads_hang() -> None:
    with far_peer.a_peer("mute") as peer:
        kit = str(Path(far_peer.__file__).parent)
        done = subprocess.run(
            [sys.executable, "-c", HANGS, str(peer.address[1]), kit],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["left", "3", "ends"], "")
