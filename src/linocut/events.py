"""What a run tells the world, in order: frozen, picklable, JSON by one function. Torch-free."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from linocut.errors import LinocutError
from linocut.request import Picture


@dataclass(frozen=True, slots=True)
class Queued:
    """Waiting; `place` 1 is next."""

    place: int


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has taken the request and decided how it draws it."""

    checkpoint: str
    mode: str
    drawn_width: int
    drawn_height: int
    steps: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoding:
    """Reading the prompt and the references."""


@dataclass(frozen=True, slots=True)
class Step:
    """Step `i` of `n` is done; it took `seconds`; about `left` seconds remain."""

    i: int
    n: int
    seconds: float
    left: float


@dataclass(frozen=True, slots=True)
class Preview:
    """What the picture would be if the rest were a straight line; at most 256 px a side."""

    i: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class Decoding:
    """From latents to pixels."""


@dataclass(frozen=True, slots=True)
class Done:
    """The picture, and everything needed to draw it again.

    threads: how many a CPU computed with, a part of the mode; None on a GPU.
    """

    picture: Picture
    seed: int
    drawn_width: int
    drawn_height: int
    mode: str
    checkpoint: str
    demo: bool
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended with an error."""

    error: LinocutError


@dataclass(frozen=True, slots=True)
class Canceled:
    """The run was stopped by its caller after `i` steps."""

    i: int


Event = Queued | Started | Encoding | Step | Preview | Decoding | Done | Failed | Canceled


def to_json(event: Event) -> dict[str, Any]:
    """The event as plain JSON values, its name under "event"; pixels become their size."""
    values: dict[str, Any] = {"event": type(event).__name__.lower()}
    if isinstance(event, Failed):
        error = event.error
        return values | {"code": error.code, "message": error.message, "hint": error.hint}
    picture = getattr(event, "picture", None)
    if isinstance(picture, Picture):
        names = [name for name in event.__dataclass_fields__ if name != "picture"]
        rest = {name: getattr(event, name) for name in names}
        return values | rest | {"width": picture.width, "height": picture.height}
    return values | asdict(event)
