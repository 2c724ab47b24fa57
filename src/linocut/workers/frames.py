"""What goes over the pipes between the server and a worker: frames. No pickle, capped sizes.

A frame is the length of its head (4 bytes, the highest first), the head as JSON, then blobs:

    {"kind": "Job", "blobs": [48213], "value": {"id": "…", "reference_files": [0], …}}

Bytes in a value are the number of their blob. Which types a field may have is read from the
dataclasses themselves; what does not fit them is a FrameError, never half a value.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Generator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Any, BinaryIO, Final, cast, get_args, get_origin, get_type_hints

from linocut.catalog import (
    AutoencoderConfig,
    ModelConfig,
    TextConditioning,
    TextEncoderConfig,
    TransformerConfig,
)
from linocut.errors import LinocutError, WorkerFailed, kinds, of_stored, to_stored
from linocut.events import Decoding, Encoding, Started, Step
from linocut.repertoire import Repertoire, Thing
from linocut.request import MOST_DECODED, ImageRequest, Picture
from linocut.workers.protocol import (
    Finished,
    Job,
    Message,
    PreviewFile,
    Rate,
    Ready,
    Refused,
    Stopped,
)

MAX_HEAD: Final = 4 * 1024**2
MAX_BLOB: Final = MOST_DECODED + 4 * 1024**2  # what is decoded may be sent, and some more
MAX_BLOBS: Final = 11 * MAX_BLOB
_LENGTH: Final = struct.Struct(">I")


class FrameError(Exception):
    """Bytes that are no frame, or a frame over the limits."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """To a worker: end the run of this job within two steps, if it is the one that runs."""

    id: str


Frame = Job | Cancel | Ready | Message
_KINDS: Final[Mapping[str, type]] = {
    kind.__name__: kind
    for kind in (
        Job, Cancel, Ready, Started, Encoding, Step, Decoding, PreviewFile, Finished, Stopped,
        Refused,
    )
}  # fmt: skip
_PARTS: Final = frozenset({
    ImageRequest, Picture, Rate, ModelConfig, TransformerConfig, AutoencoderConfig,
    TextEncoderConfig, TextConditioning, Repertoire, Thing,
})  # fmt: skip
_CONTAINERS: Final = (tuple, Mapping)


def write_frame(frame: Frame) -> bytes:
    """The frame as bytes; FrameError if it is over the limits."""
    return b"".join(frame_parts(frame))


def frame_parts(frame: Frame) -> list[bytes]:
    """What a frame's bytes are put together from: its head, and each blob as it is. FrameError."""
    blobs: list[bytes] = []
    value = _plain(frame, blobs)
    sizes = [len(blob) for blob in blobs]
    head = json.dumps({"kind": type(frame).__name__, "blobs": sizes, "value": value}).encode()
    _check_sizes(len(head), sizes)
    return [_LENGTH.pack(len(head)) + head, *blobs]


def read_frame(pipe: BinaryIO) -> Frame | None:
    """The next frame of a pipe; None at its end. Waits for it. FrameError."""
    reading = _reading()
    wanted = next(reading)
    try:
        while True:
            data = pipe.read(wanted)
            if not data:
                return None
            wanted = reading.send(data)
    except StopIteration as end:
        return cast(Frame, end.value)


async def receive_frame(stream: asyncio.StreamReader) -> Frame | None:
    """The next frame of a stream; None at its end. FrameError."""
    reading = _reading()
    wanted = next(reading)
    while True:
        try:
            wanted = reading.send(await stream.readexactly(wanted))
        except asyncio.IncompleteReadError:
            return None
        except StopIteration as end:
            return cast(Frame, end.value)


def _reading() -> Generator[int, bytes, Frame]:
    """Yields how many bytes it wants, and is sent them; returns the frame."""
    (length,) = _LENGTH.unpack((yield from _exactly(_LENGTH.size)))
    _check_sizes(length, [])
    head = _head((yield from _exactly(length)))
    blobs = []
    for size in head["blobs"]:
        blobs.append((yield from _exactly(size)))  # noqa: PERF401 - cannot yield in one
    kind = _KINDS.get(head["kind"])
    if kind is None:
        raise FrameError(f"no frame is called {head['kind']!r}")
    return cast(Frame, _value(kind, head["value"], blobs))


def _exactly(count: int) -> Generator[int, bytes, bytes]:
    data = b""
    while len(data) < count:
        data += yield count - len(data)
    return data


def _head(data: bytes) -> dict[str, Any]:
    try:
        head = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FrameError("the head of a frame is no JSON") from error
    if not isinstance(head, dict) or set(head) != {"kind", "blobs", "value"}:
        raise FrameError("the head of a frame needs kind, blobs and value")
    sizes = head["blobs"]
    if not isinstance(head["kind"], str) or not isinstance(sizes, list):
        raise FrameError("the head of a frame has a wrong kind, or blobs that are no list")
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise FrameError(f"blobs of {sizes} bytes")
    _check_sizes(len(data), sizes)
    return head


def _check_sizes(head: int, blobs: list[int]) -> None:
    if head > MAX_HEAD or max(blobs, default=0) > MAX_BLOB or sum(blobs) > MAX_BLOBS:
        raise FrameError(
            f"a frame with a head of {head:,} bytes and blobs of {blobs}; at most {MAX_HEAD:,}, "
            f"{MAX_BLOB:,} each and {MAX_BLOBS:,} together"
        )


def _plain(value: Any, blobs: list[bytes]) -> Any:
    """The value as JSON has it; its bytes go to `blobs`."""
    if isinstance(value, bytes):
        blobs.append(value)
        return len(blobs) - 1
    if isinstance(value, LinocutError):
        return to_stored(value)
    if type(value) in _PARTS or type(value) in _KINDS.values():
        return {part.name: _plain(getattr(value, part.name), blobs) for part in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item, blobs) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, blobs) for key, item in value.items()}
    return value


def _value(kind: Any, plain: Any, blobs: list[bytes]) -> Any:
    """The value of that type which `_plain` made so."""
    if isinstance(kind, UnionType):  # of one type and None
        return None if plain is None else _value(get_args(kind)[0], plain, blobs)
    if kind in _PARTS or kind in _KINDS.values():
        return _dataclass(kind, plain, blobs)
    if get_origin(kind) in _CONTAINERS:
        return _container(kind, plain, blobs)
    if kind is bytes:
        return _blob(plain, blobs)
    return _error(plain) if kind is LinocutError else _scalar(kind, plain)


def _container(kind: Any, plain: Any, blobs: list[bytes]) -> Any:
    inner = get_args(kind)
    if get_origin(kind) is tuple and isinstance(plain, list):
        return tuple(_value(inner[0], item, blobs) for item in plain)
    if get_origin(kind) is Mapping and isinstance(plain, dict):
        return {key: _value(inner[1], item, blobs) for key, item in plain.items()}
    raise FrameError(f"{plain!r:.80} where a frame has {kind}")


def _scalar(kind: Any, plain: Any) -> Any:
    if kind is Any:
        return plain
    allowed = (int, float) if kind is float else (kind,)
    if type(plain) not in allowed:
        raise FrameError(f"{plain!r:.80} where a frame has {kind}")
    return plain


def _blob(plain: Any, blobs: list[bytes]) -> bytes:
    if type(plain) is not int or not 0 <= plain < len(blobs):
        raise FrameError(f"blob {plain!r:.80} of {len(blobs)}")
    return blobs[plain]


def _dataclass(kind: type, plain: Any, blobs: list[bytes]) -> Any:
    hints = _hints(kind)
    if not isinstance(plain, dict) or set(plain) != set(hints):
        raise FrameError(f"a {kind.__name__} needs {', '.join(hints)}")
    values = {name: _value(hint, plain[name], blobs) for name, hint in hints.items()}
    try:
        return kind(**values)
    except LinocutError as error:
        raise FrameError(f"no {kind.__name__}: {error}") from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {part.name: hints[part.name] for part in fields(kind)}


def _error(plain: Any) -> LinocutError:
    """The error of the tree; WorkerFailed where the tree has no such code."""
    said = ("code", "message", "hint")
    if not isinstance(plain, dict) or not all(isinstance(plain.get(name), str) for name in said):
        raise FrameError("an error needs a code, a message and a hint")
    kind = kinds().get(plain["code"])
    if kind and (more := plain.keys() - {*said, *kind.details}):
        raise FrameError(f"a {kind.__name__} does not say {', '.join(sorted(more))}")
    try:
        return of_stored(plain, WorkerFailed)
    except (TypeError, ValueError) as error:
        raise FrameError(f"no error: {error}") from error
