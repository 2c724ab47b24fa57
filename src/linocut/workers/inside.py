"""The inside of a worker process: its ends of the pipes, and the loop that serves jobs.

Whatever happens to the server, its workers end: the kernel kills them with it, and where it
cannot, the end of the pipe does. Nothing is lost by that: what a worker knows is in its frames.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import BinaryIO, Final

from linocut.errors import DoesNotFit, LinocutError
from linocut.events import Step
from linocut.workers.frames import Cancel, Frame, read_frame, write_frame
from linocut.workers.protocol import Job, Message, Ready, Refused, Stopped

STEP_SECONDS: Final = 0.05  # between two frames that say no more than "one step further"
_PR_SET_PDEATHSIG: Final = 1

Draw = Callable[[Job], Generator[Message, None, None]]


class Link:
    """A worker's end of its pipes. A thread listens, so that a cancel is seen between two steps."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._canceled = ""
        threading.Thread(target=self._listen, name="link", daemon=True).start()

    def send(self, frame: Frame) -> None:
        """Hand a frame to the server; the process ends if there is none any more."""
        try:
            self._writer.write(write_frame(frame))
            self._writer.flush()
        except BrokenPipeError:
            _die()

    def next_job(self) -> Job:
        """Wait for a job."""
        return self._jobs.get()

    def is_canceled(self, job: Job) -> bool:
        """Whether the server wants no more of this job."""
        return self._canceled == job.id

    def _listen(self) -> None:
        try:
            while (frame := read_frame(self._reader)) is not None:
                if isinstance(frame, Job):
                    self._canceled = ""  # what was canceled before may be asked for again
                    self._jobs.put(frame)
                elif isinstance(frame, Cancel):
                    self._canceled = frame.id
        finally:
            _die()


def open_link() -> Link:
    """The pipes that this process was started with; it dies with whoever holds the other ends.

    What a library prints or reads goes elsewhere: to standard error, and from nowhere. A service
    manager that says SIGTERM to every process of the service means the server: it decides when
    its workers end, and lets them finish what they draw.
    """
    faulthandler.enable()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    os.dup2(2, 1)
    return Link(reader, writer)


def serve(link: Link, ready: Ready, draw: Draw) -> None:
    """Say that the worker is ready, then run one job after the other, for ever.

    What `draw` raises of our own errors, and running out of memory, ends the job; anything else
    is a fault of the program, and ends the process.
    """
    link.send(ready)
    while True:
        run(link, link.next_job(), draw)


def run(link: Link, job: Job, draw: Draw) -> None:
    """One job, from its first frame to its `Ending`."""
    began, done = time.perf_counter(), 0
    messages, pace = draw(job), _Pace()
    try:
        for message in messages:
            if isinstance(message, Step):
                done = message.i
            if link.is_canceled(job):
                messages.close()
                link.send(Stopped(i=done, seconds=time.perf_counter() - began))
                return
            if pace.wants(message):
                link.send(message)
    except LinocutError as error:
        link.send(Refused(error=error, seconds=time.perf_counter() - began))
    except MemoryError:
        link.send(Refused(error=_too_large(), seconds=time.perf_counter() - began))


class _Pace:
    """Which steps are worth a frame: at most twenty a second, but always the last."""

    def __init__(self) -> None:
        self._next = 0.0

    def wants(self, message: Message) -> bool:
        """Whether to send it; all that is no step is sent."""
        if not isinstance(message, Step) or message.i == message.n:
            return True
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + STEP_SECONDS
        return True


def _too_large() -> DoesNotFit:
    return DoesNotFit(
        "drawing this picture needs more memory than the worker has",
        hint="ask for a smaller picture, or give fewer references",
    )


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
