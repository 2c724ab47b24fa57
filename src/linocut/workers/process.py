"""A worker as a child process: started, fed, watched, and ended, by frames over its pipes.

It lives once. Whatever ends it (a crash, the system, a hang, a frame that is none) becomes one
`WorkerLost` that says so in words; another process then takes its place.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from linocut.workers.frames import Cancel, Frame, FrameError, frame_parts, receive_frame
from linocut.workers.protocol import (
    Finished,
    Job,
    Message,
    Rate,
    Ready,
    Refused,
    Stopped,
    WorkerLost,
)

HANG_SECONDS: Final = 60.0
START_SECONDS: Final = 600.0
_LONGEST_LINE: Final = 4096
_log: Final = logging.getLogger(__name__)
Pipe = TypeVar("Pipe", asyncio.StreamReader, asyncio.StreamWriter)


class ChildProcess:
    """One worker process; `command` starts it. Implements `Worker`.

    hang_seconds: how long a run may say nothing.   start_seconds: how long loading may take.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        hang_seconds: float = HANG_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self.name = name
        self.rates: Mapping[str, Rate] = {}
        self.lost: WorkerLost | None = None
        self._command = tuple(command)
        self._hang_seconds, self._start_seconds = hang_seconds, start_seconds
        self._process: Process | None = None
        self._watch: asyncio.Task[WorkerLost] | None = None
        self._reading: asyncio.Task[Frame | None] | None = None
        self._running = ""  # the job whose ending has not been read yet
        self._ended_because = ""

    @property
    def pid(self) -> int:
        """The process's number; 0 before its start."""
        return self._process.pid if self._process else 0

    async def start(self) -> Ready:
        """Loaded and warm; WorkerLost, or the checkpoint's own error, if it cannot be."""
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            _log.warning("%s: %s", self.name, error)
            raise WorkerLost(f"the worker could not be started: {error.strerror}") from error
        self._watch = asyncio.create_task(self._watched(self._process))
        said = await self._receive(self._start_seconds)
        if isinstance(said, Refused):
            await self.stop()
            raise said.error
        if not isinstance(said, Ready):
            self._kill("said something else than that it is ready")
            raise await self.gone()
        self.rates = said.rates
        return said

    async def run(self, job: Job) -> AsyncGenerator[Message, None]:
        """What happens, ending with exactly one `Ending`; WorkerLost if the process goes away.

        Leaving it early cancels the run.
        """
        try:
            while self._running:  # a run that its caller has left
                await self._next_message()
            self._running = job.id
            self._write(job)
            del job  # it is in the pipe's buffer, references and all
            await self._drain()
            while self._running:
                yield await self._next_message()
        finally:
            if self._running:
                self._write(Cancel(self._running))

    async def cancel(self) -> None:
        """Ask the run to end within two steps; it ends with `Stopped`. Nothing if none runs."""
        if self._running:
            self._write(Cancel(self._running))

    async def gone(self) -> WorkerLost:
        """Wait until the process has ended, however it did; why, in words."""
        if self._watch is None:
            raise RuntimeError(f"{self.name} was never started")
        return await asyncio.shield(self._watch)

    async def stop(self) -> None:
        """End the process; a run in it is lost."""
        self._kill("was stopped")
        if self._watch is not None:
            await self.gone()
        if self._reading is not None:
            await asyncio.wait({self._reading})
            self._reading = None

    async def _next_message(self) -> Message:
        frame = await self._receive(self._hang_seconds)
        if isinstance(frame, Job | Cancel | Ready):
            self._kill(f"said {type(frame).__name__} in the middle of a run")
            raise await self.gone()
        if isinstance(frame, Finished) and frame.rate is not None:
            self.rates = {**self.rates, str(frame.metadata.get("mode")): frame.rate}
        if isinstance(frame, Finished | Stopped | Refused):
            self._running = ""
        return frame

    async def _receive(self, seconds: float) -> Frame:
        """The next frame; after so many seconds without one the process is ended.

        They are waited for in two halves: where the whole machine was asleep, server and worker,
        the first passes at once, and in the second the worker shows that it lives.
        """
        process = self._alive()
        if self._reading is None:
            self._reading = asyncio.create_task(receive_frame(_open(process.stdout)))
        for _ in range(2):
            if (await asyncio.wait({self._reading}, timeout=seconds / 2))[0]:
                break
        else:
            self._kill(f"did not answer for {seconds:g} s")
        reading = self._reading
        await asyncio.wait({reading})
        self._reading = None
        try:
            frame = reading.result()
        except FrameError as error:
            _log.warning("%s: no frame: %s", self.name, error)
            self._kill("said something that is no frame")
            raise await self.gone() from error
        if frame is None:
            raise await self._ended()
        return frame

    async def _drain(self) -> None:
        """What was written is taken; WorkerLost if that does not happen."""
        try:
            async with asyncio.timeout(self._hang_seconds):
                await _open(self._alive().stdin).drain()
        except TimeoutError:
            self._kill(f"took no job for {self._hang_seconds:g} s")
            raise await self.gone() from None
        except ConnectionError as error:
            raise await self._ended() from error

    def _write(self, frame: Frame) -> None:
        """Into the pipe's buffer; what a process that is gone does not read is nobody's loss."""
        process = self._process
        if process is not None and process.returncode is None:
            pipe = _open(process.stdin)
            for part in frame_parts(frame):  # together they would be there twice
                pipe.write(part)

    def _alive(self) -> Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        if self.lost is not None:
            raise self.lost
        return self._process

    def _kill(self, because: str) -> None:
        """End the process and all that it may have started, at once."""
        process = self._process
        if process is not None and process.returncode is None:
            self._ended_because = self._ended_because or because
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _ended(self) -> WorkerLost:
        """Why a process is gone that has closed its pipe; one that lives on is ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hang_seconds):
                return await self.gone()
        self._kill("closed its pipe")
        return await self.gone()

    async def _watched(self, process: Process) -> WorkerLost:
        said = asyncio.create_task(self._logged(_open(process.stderr)))
        code = await process.wait()
        await asyncio.wait({said}, timeout=1)
        because = self._ended_because if code == -signal.SIGKILL else ""
        self.lost = WorkerLost(
            f"the worker {because or in_words(code)}",
            hint="another one takes its place; try again",
        )
        _log.info("%s: %s", self.name, self.lost.message)
        return self.lost

    async def _logged(self, stream: asyncio.StreamReader) -> None:
        """Standard error, line by line, into the log.

        Callers read the reason of a loss, and are not told what the process wrote of its insides.
        """
        rest = b""
        while data := await stream.read(_LONGEST_LINE):
            *lines, rest = (rest + data).split(b"\n")
            lines += [rest] if len(rest) > _LONGEST_LINE else []
            rest = b"" if len(rest) > _LONGEST_LINE else rest
            for line in lines:
                self._say(line)
        self._say(rest)

    def _say(self, line: bytes) -> None:
        text = line.decode(errors="replace").strip()
        if text:
            _log.warning("%s: %s", self.name, text[:_LONGEST_LINE])


def in_words(code: int) -> str:
    """What an exit code says about a process that nobody here has ended."""
    if code == -signal.SIGKILL:
        return "was killed by the system, most likely out of memory"
    if code < 0:
        return f"crashed with {_signal_name(-code)}"
    return f"ended with exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _open(pipe: Pipe | None) -> Pipe:
    if pipe is None:
        raise RuntimeError("the process was started without this pipe")
    return pipe
