"""What a safetensors file promises is held against what it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import CheckpointInvalid
from linocut.weights.headers import read_header

Refusal = Callable[..., str]
VAE = "vae/diffusion_pytorch_model.safetensors"


def header(fields: object, data: bytes = b"") -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: object, shape: object, span: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": span}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no safetensors file, or only its beginning"),
        (b"\x10", "only its beginning"),
        (struct.pack("<Q", 2**63) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 100) + b"{}", "only its beginning"),
        (b"<html><body>Please log in</body></html>", "no safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "no safetensors file"),
        (header(b"{"), "no safetensors file"),
        (header(b"[]"), "no safetensors file"),
        (header(b"[" * 90_000), "no safetensors file"),
        (header(b"\xff\xfe{}"), "no safetensors file"),
        (header(b'{"a": {}, "a": {}}'), "no safetensors file"),
        (header({"a": 3}), "a has the dtype None"),
        (header({"a": entry("F31", [1], [0, 4])}, bytes(4)), "a has the dtype 'F31'"),
        (header({"a": entry(["F32"], [1], [0, 4])}, bytes(4)), "a has the dtype"),
        (header({"a": entry("F32", [-1], [0, 4])}, bytes(4)), "a has the shape [-1]"),
        (header({"a": entry("F32", [True], [0, 4])}, bytes(4)), "a has the shape"),
        (header({"a": entry("F32", [2**62] * 99, [0, 4])}, bytes(4)), "a has the shape"),
        (header({"a": entry("F32", [1], [0, 4, 8])}, bytes(8)), "at [0, 4, 8]"),
        (header({"a": entry("F32", [1], None)}, bytes(4)), "at None"),
        (header({"a": entry("F32", [2], [0, 4])}, bytes(4)), "takes 8 bytes, not 4"),
        (header({"a": entry("F32", [1], [4, 0])}, bytes(4)), "takes 4 bytes, not -4"),
        (header({"a": entry("F32", [1], [4, 8])}, bytes(8)), "starts at byte 4"),
        (
            header({"a": entry("F32", [1], [0, 4]), "b": entry("F32", [1], [0, 4])}, bytes(4)),
            "b starts at byte 0 of the data, 4 was next",
        ),
        (header({"a": entry("F32", [9], [0, 36])}, bytes(35)), "36 bytes of data, 35 are there"),
        (header({"a": entry("F32", [1], [0, 4])}, bytes(9)), "5 bytes follow its last tensor"),
    ],
)
def test_a_foreign_or_crafted_file_is_named_with_what_is_wrong(
    refusal: Refusal, copy: Path, content: bytes, message: str
) -> None:
    (copy / VAE).write_bytes(content)
    found = refusal(copy)
    assert str(copy / VAE) in found
    assert message in found


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 20_000, -1])
def test_a_truncated_file_is_recognised_wherever_it_ends(
    refusal: Refusal, copy: Path, kept: int
) -> None:
    content = (copy / VAE).read_bytes()
    (copy / VAE).write_bytes(content[:kept])
    message = refusal(copy)
    assert str(copy / VAE) in message
    assert "download or copy it again" in message


def test_a_file_that_cannot_be_read_is_named(refusal: Refusal, copy: Path) -> None:
    (copy / VAE).unlink()
    (copy / VAE).symlink_to("/proc/self/mem")  # a file that even root cannot read from its start
    assert f"{copy / VAE} cannot be read" in refusal(copy)


@given(content=st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.safetensors"
    for text in (content, header(content), header(content, content)):
        file.write_bytes(text)
        try:
            read_header(file)
        except CheckpointInvalid as error:
            assert str(file) in error.message  # noqa: PT017
