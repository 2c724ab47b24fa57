"""Threads that may be left behind, for calls of the system that may never return.

No thread can be stopped, and a disk that hangs gives back none that waits for it. So whoever has
waited long enough leaves its thread to its call, and another takes that one's place; and at its end
the program waits for none of them, as it would for those of an executor.
"""

from __future__ import annotations

import _thread
import math
import time
from asyncio import wrap_future
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, Final, TypeVar

T = TypeVar("T")

MOST: Final = 16
SPARE: Final = 16
PAUSE: Final = 60.0


@dataclass(slots=True, eq=False)
class _Task:
    """A call, and where its answer goes. is_left: it is under way, and nobody waits for it."""

    work: Callable[[], Any]
    answer: Future[Any] = field(default_factory=Future)
    is_left: bool = False


class Threads:
    """At most `most` calls at once, the others in turn; a call that was left counts no more.

    refusal: what is raised, at once, where no thread is at work and none may be begun. As many as
    `spare` may be left behind; beyond that one is begun only after a pause of so many seconds for
    each that is too many. So what hangs for days takes little, and what was mended is noticed.
    """

    def __init__(
        self,
        refusal: Callable[[], Exception],
        *,
        most: int = MOST,
        spare: int = SPARE,
        pause: float = PAUSE,
    ) -> None:
        self.refusal = refusal
        self.most, self.spare, self.pause = most, spare, pause
        self.num_left = 0
        self._num_at_work = 0
        self._began = -math.inf
        self._line: deque[_Task] = deque()
        self._lock = Lock()

    async def run(self, work: Callable[..., T], *given: Any) -> T:
        """What the call answers or raises; whoever is canceled meanwhile leaves it behind."""
        task = _Task(partial(work, *given))
        with self._lock:
            self._line.append(task)
            self._fill()
            if not self._num_at_work and task in self._line:
                self._line.remove(task)
                raise self.refusal()
        try:
            answer: T = await wrap_future(task.answer)
        finally:
            self._leave(task)
        return answer

    def _fill(self) -> None:
        """A thread for each call in the line, as far as there may be one. Under the lock."""
        while self._num_at_work < self.most and self._may_begin() and (task := self._first()):
            try:
                # A `Thread` would keep the event loop until the system lets it run for the first
                # time, which takes a while where workers compute on every core.
                _thread.start_new_thread(self._serve, (task,))
            except RuntimeError:  # the system gives no more of them
                task.answer.set_exception(self.refusal())
            else:
                self._num_at_work += 1
                self._began = time.monotonic()

    def _may_begin(self) -> bool:
        too_many = self.num_left - self.spare
        return too_many < 0 or time.monotonic() - self._began >= self.pause * (too_many + 1)

    def _first(self) -> _Task | None:
        """The next call in the line that somebody waits for. Under the lock."""
        while self._line:
            task = self._line.popleft()
            if task.answer.set_running_or_notify_cancel():
                return task
        return None

    def _serve(self, task: _Task | None) -> None:
        """A thread's life: one call after the other, as long as any wait."""
        while task is not None:
            _call(task)
            task = self._next(task)

    def _next(self, done: _Task) -> _Task | None:
        with self._lock:
            if done.is_left:
                self.num_left -= 1
                self._fill()
                return None
            task = self._first()
            if task is None:
                self._num_at_work -= 1
            return task

    def _leave(self, task: _Task) -> None:
        """Its place in the line, or its thread, is for others; nothing, once it has its answer."""
        with self._lock:
            if task in self._line:
                self._line.remove(task)
            elif not task.answer.done():
                task.is_left = True
                self.num_left += 1
                self._num_at_work -= 1
                self._fill()


def _call(task: _Task) -> None:
    try:
        answer = task.work()
    except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
        task.answer.set_exception(error)
    else:
        task.answer.set_result(answer)
