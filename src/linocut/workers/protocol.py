"""What a dispatcher and a worker say to each other: frozen values, and the seam between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from linocut.catalog import ModelConfig
from linocut.errors import LinocutError, WorkerFailed
from linocut.events import Decoding, Encoding, Started, Step
from linocut.repertoire import Repertoire
from linocut.request import ImageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One picture to draw, check and encode.

    request: without references; `reference_files` holds them, files that this house encoded.
    go_fast: permission for the worker's fast mode, if it has one.
    """

    id: str
    request: ImageRequest
    reference_files: tuple[bytes, ...] = ()
    go_fast: bool = False
    output_format: str = "webp"
    output_quality: int = 80
    embed_prompt: bool = True
    check_safety: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a mode draws here: seconds = steps · per_step + flops / flops_per_second."""

    flops_per_second: float
    per_step: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker has loaded its checkpoint, warmed up, and can draw.

    modes: the default first.   fast: the mode that permission to go fast chooses; None where none
    draws faster here than the default.   repertoire: all that the checkpoint was taught, if it has
    such a list.
    """

    checkpoint: str
    demo: bool
    device: str
    modes: tuple[str, ...]
    fast: str | None
    config: ModelConfig
    rates: Mapping[str, Rate]
    repertoire: Repertoire | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewFile:
    """A preview as a small WebP file; it has passed the same check as pictures."""

    i: int
    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The picture as a file, and everything known about it.

    metadata: seed, width, height, drawn_width, drawn_height, mode, checkpoint, demo, threads,
    safety, warnings, timings.   seconds: what the run took of the worker.   rate: how fast its
    mode draws here, now that this run is known too.
    """

    file: bytes
    content_type: str
    width: int
    height: int
    metadata: Mapping[str, Any]
    seconds: float
    rate: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The run was canceled after `i` steps."""

    i: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The run ended with an error of the request's own: trying again would not help."""

    error: LinocutError
    seconds: float


Progress = Started | Encoding | Step | Decoding | PreviewFile
Ending = Finished | Stopped | Refused
Message = Progress | Ending


class WorkerLost(WorkerFailed):
    """The process crashed, hung or ran out of memory in the middle of a run."""


class Worker(Protocol):
    """The seam: a supervised process here, an actor of a cluster elsewhere.

    It lives once: what is lost is not started again, another takes its place.
    rates: how fast each mode draws, as fitted from its own runs.   lost: why it is gone, if it is.
    """

    name: str
    rates: Mapping[str, Rate]
    lost: WorkerLost | None

    async def start(self) -> Ready:
        """Loaded and warm; WorkerLost, or the checkpoint's own error, if it cannot be."""
        ...

    def run(self, job: Job) -> AsyncIterator[Message]:
        """What happens, ending with exactly one `Ending`; WorkerLost if the process goes away."""
        ...

    async def cancel(self) -> None:
        """Ask the run to end within two steps; it ends with `Stopped`. Nothing if none runs."""
        ...

    async def gone(self) -> WorkerLost:
        """Wait until the process has ended, however it did; why, in words."""
        ...

    async def stop(self) -> None:
        """End the process; a run in it is lost."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a worker is: `state` is starting, idle, busy or down; `reason` says why in words."""

    name: str
    state: str
    reason: str = ""
    ready: Ready | None = None
    restarts: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
