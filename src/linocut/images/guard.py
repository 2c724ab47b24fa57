"""Pictures of strangers become pictures of ours, in a process that may die of them.

What it dies of is refused as InvalidPicture, and another process takes its place. See
`guard_child` for what that process may use; from here on, no byte that a stranger chose is parsed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    asynccontextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass
from typing import Final, cast
from weakref import WeakValueDictionary

from linocut.errors import InvalidPicture, Unavailable
from linocut.request import MOST_DECODED

MEMORY: Final = 512 * 1024 * 1024
_LENGTH: Final = 8
_START_SECONDS: Final = 60.0
# Nothing of the server's settings is there to be found; and memory that glibc took in large pieces
# goes back when a picture is done.
_SURROUNDINGS: Final = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
_LOST: Final = (EOFError, ConnectionError)  # EOFError: what asyncio.IncompleteReadError is


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalised:
    """A picture that this house encoded: upright, RGB, without metadata, without loss."""

    file: bytes
    content_type: str
    extension: str
    width: int
    height: int
    sha256: str


class Guard:
    """Up to `children` processes that decode and encode, each one picture at a time.

    seconds: of processor time for one picture.   patience: seconds that its answer is waited for.
    memory: bytes of address space of a child.
    """

    def __init__(
        self,
        *,
        children: int = 1,
        seconds: float = 15.0,
        patience: float = 60.0,
        memory: int = MEMORY,
        command: Sequence[str] = (sys.executable, "-I", "-m", "linocut.images.guard_child"),
    ) -> None:
        self._command = (*command, str(memory), str(seconds))
        self._patience = patience
        self._free = asyncio.Semaphore(children)
        self._children = children
        self._lines: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._idle: list[Process] = []
        self._all: set[Process] = set()

    async def start(self) -> None:
        """The children run, so that the first picture need not wait; Unavailable if none can."""
        started = [await self._begin() for _ in range(self._children - len(self._all))]
        self._idle += started

    async def normalise(
        self, data: bytes, name: str = "the picture", *, owner: str = ""
    ) -> Normalised:
        """The picture as ours; InvalidPicture says in words what is wrong with it.

        What was ours before passes again; strangers' bytes are counted where they come in.
        owner: whose pictures wait for each other, so that many of one hold up nobody else's.
        """
        if len(data) > MOST_DECODED:
            raise InvalidPicture(
                f"{name} is over {MOST_DECODED // 1024**2} MB", hint="make it smaller first"
            )
        async with self._in_line(owner), self._child() as child:
            try:
                async with asyncio.timeout(self._patience):
                    kind, body = await _exchange(child, name.encode(errors="replace"), data)
            except TimeoutError as error:
                raise InvalidPicture(f"{name} takes too long to decode", hint=_HINT) from error
            except _LOST as error:
                message = (
                    f"{name} cannot be decoded: it takes too much time or memory, or is broken"
                )
                raise InvalidPicture(message, hint=_HINT) from error
        if kind != b"p":
            message, hint = json.loads(body)
            raise InvalidPicture(message, hint=hint)
        return await asyncio.to_thread(_described, body)

    async def stop(self) -> None:
        """The children are gone; pictures that they were at are lost."""
        self._idle.clear()
        for child in list(self._all):
            await self._end(child)

    def _in_line(self, owner: str) -> AbstractAsyncContextManager[None]:
        return self._lines.setdefault(owner, asyncio.Lock()) if owner else nullcontext()

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Process]:
        """A child for one picture; one that was interrupted, or is lost, is not used again."""
        async with self._free:
            self._idle = [child for child in self._idle if child.returncode is None]
            child = self._idle.pop() if self._idle else await self._begin()
            whole = False
            try:
                yield child
                whole = True
            finally:
                if whole and child.returncode is None:
                    self._idle.append(child)
                else:
                    await self._end(child)

    async def _begin(self) -> Process:
        child = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, env=_SURROUNDINGS
        )
        self._all.add(child)
        ready = False
        try:
            async with asyncio.timeout(_START_SECONDS):
                await _answer(child)
            ready = True
        except (TimeoutError, *_LOST) as error:
            message = "pictures cannot be decoded now: the process for it does not start"
            raise Unavailable(message, retry_after=10.0) from error
        finally:
            if not ready:
                await self._end(child)
        return child

    async def _end(self, child: Process) -> None:
        self._all.discard(child)
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()


_HINT: Final = "open it in a picture program and save it again, smaller"


async def _exchange(child: Process, name: bytes, data: bytes) -> tuple[bytes, bytes]:
    """(kind, body) of the child's answer; the child may be gone before it has read everything."""
    target = cast(asyncio.StreamWriter, child.stdin)
    for part in (name, data):
        target.write(len(part).to_bytes(_LENGTH, "big"))
        target.write(part)
    await target.drain()
    return await _answer(child)


async def _answer(child: Process) -> tuple[bytes, bytes]:
    source = cast(asyncio.StreamReader, child.stdout)
    kind = await source.readexactly(1)
    length = int.from_bytes(await source.readexactly(_LENGTH), "big")
    if length > MOST_DECODED:
        raise EOFError("an answer that our own child would not give")
    return kind, await source.readexactly(length)


def _described(file: bytes) -> Normalised:
    return Normalised(
        file=file,
        content_type="image/png",
        extension="png",
        width=int.from_bytes(file[16:20], "big"),
        height=int.from_bytes(file[20:24], "big"),
        sha256=hashlib.sha256(file).hexdigest(),
    )
