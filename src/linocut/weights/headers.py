"""What a safetensors file says it holds, checked before anybody maps it. Torch-free.

A file is: the header's length (8 bytes, little endian), the header (JSON: name -> dtype, shape,
data_offsets), the data. Checkpoints come from strangers, so that everything the header promises is
held against the file's size here: a truncated download, a web page saved under the wrong name and
a crafted file all end in a sentence.
Source: the format's page in the safetensors repository.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from linocut.errors import CheckpointInvalid

MAX_HEADER: Final = 16 * 2**20  # bytes; dev's largest is some 40 KB
MAX_DIMENSIONS: Final = 8
BYTES: Final = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

FLOATS: Final = ("F64", "F32", "F16", "BF16")  # what weights are read from
QUANTISED_HINT: Final = (
    f"use the weights that they were made from, in one of {', '.join(FLOATS)}; "
    "linocut pull flux-2-dev fetches those of FLUX.2 [dev]"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that is on disk: its file, its name there, the format's word for its dtype."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) * BYTES[self.dtype]


def read_header(file: Path) -> dict[str, Stored]:
    """Every tensor of a file by name; CheckpointInvalid says how the file breaks the format."""
    header, size = _header(file)
    stored, spans = {}, []
    for name, fields in header.items():
        if name == "__metadata__":
            continue
        stored[name], span = _stored(file, name, fields)
        spans.append((*span, name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise _broken(file, f"{name} starts at byte {start:,} of the data, {end:,} was next")
        end = stop
    if end > size:
        raise CheckpointInvalid(
            f"{file} is cut off: its header promises {end:,} bytes of data, {size:,} are there",
            hint="download or copy it again",
        )
    if end < size:
        raise _broken(file, f"{size - end:,} bytes follow its last tensor")
    return stored


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The parsed header, and how many bytes of data follow it."""
    try:
        with file.open("rb") as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise _foreign(file, size)
            text = opened.read(length)
    except OSError as error:
        raise CheckpointInvalid(f"{file} cannot be read: {error.strerror}") from error
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _foreign(file, size) from error
    if not isinstance(header, dict):
        raise _foreign(file, size)
    return header, size - 8 - length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len(dict(pairs)):
        raise ValueError("a name stands there twice")
    return dict(pairs)


def _stored(file: Path, name: str, fields: object) -> tuple[Stored, tuple[int, int]]:
    """One tensor, and the bytes of the data that are its own."""
    fields = fields if isinstance(fields, dict) else {}
    dtype, shape, span = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise _broken(file, f"{name} has the dtype {dtype!r}")
    if not _are_counts(shape) or not _are_counts(span) or len(span) != 2:
        raise _broken(file, f"{name} has the shape {shape!r} at {span!r}")
    stored = Stored(file, name, dtype, tuple(shape))
    if span[1] - span[0] != stored.size:
        raise _broken(
            file, f"{name}, {dtype} {shape}, takes {stored.size:,} bytes, not {span[1] - span[0]:,}"
        )
    return stored, (span[0], span[1])


def _are_counts(value: object) -> TypeGuard[list[int]]:
    if not isinstance(value, list) or len(value) > MAX_DIMENSIONS:
        return False
    return all(type(item) is int and 0 <= item < 2**63 for item in value)


def _broken(file: Path, what: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"{file} is no sound safetensors file: {what}")


def _foreign(file: Path, size: int) -> CheckpointInvalid:
    return CheckpointInvalid(
        f"{file} ({size:,} bytes) is no safetensors file, or only its beginning",
        hint="download or copy it again; a file of a few bytes is often a Git LFS pointer",
    )
