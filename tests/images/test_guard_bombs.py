"""Files that are made to harm whoever decodes them: refused, or cleaned of what is harmful.

All go through one real guard. The child's memory is looked at afterwards, and so is whether it
still decodes what is harmless.
"""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

from linocut.errors import InvalidPicture
from linocut.images.decode import decode
from linocut.images.guard import MEMORY, Guard

START = b"\x89PNG\r\n\x1a\n"
REFUSED, CLEANED = "refused", "cleaned"
LIMIT = 64 * 1024  # no cleaned picture here is near it


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@cache
def zeros(count: int) -> bytes:
    """So many zero bytes, deflated; made piece by piece."""
    packer = zlib.compressobj(9)
    pieces = [packer.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20)]
    return b"".join(pieces) + packer.flush()


def header(width: int, height: int, depth: int = 8, kind: int = 0, interlaced: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))


def png(head: bytes, rows: bytes, *more: bytes) -> bytes:
    return START + head + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(format: str, side: int = 16, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 40)).save(file, format, **options)
    return file.getvalue()


def animated(format: str, count: int) -> bytes:
    """A picture of many frames, all different."""
    frames = [Image.new("RGB", (16, 16), (i % 256, i // 256, 0)) for i in range(count)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:], duration=10)
    return file.getvalue()


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def many_scans() -> bytes:
    """A progressive JPEG whose last scan is repeated 20,000 times."""
    data = saved("JPEG", 64, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 20_000 + b"\xff\xd9"


def resized_jpeg(width: int, height: int) -> bytes:
    """A small JPEG that claims to be of another size."""
    data = bytearray(saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def png_bombs() -> Iterator[tuple[str, bytes, str]]:
    """Name, file, what becomes of it."""
    small, row = header(8, 8), zlib.compress(bytes(9) * 8)
    text = b"Comment\0\0" + zeros(1 << 28)
    yield "20,000 px square, 1 bit", png(header(20_000, 20_000, 1), zeros(20_000 * 2501)), REFUSED
    yield "13,000 px square, 8 bit", png(header(13_000, 13_000), zeros(1 << 24)), REFUSED
    yield "the largest size there is", png(header(2**31 - 1, 2**31 - 1), row), REFUSED
    yield "no width", png(header(0, 8), row), REFUSED
    yield "a line of 25 million", png(header(25_000_001, 1), row), REFUSED
    yield "pixels that inflate 1,000-fold", png(small, zeros(1 << 28)), CLEANED
    yield "zTXt bomb", png(small, row, chunk(b"zTXt", text)), CLEANED
    yield "200 zTXt bombs", png(small, row, *[chunk(b"zTXt", text[:70_000])] * 200), CLEANED
    itxt = b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(1 << 28)
    yield "iTXt bomb", png(small, row, chunk(b"iTXt", itxt)), CLEANED
    yield "iCCP bomb", png(small, row, chunk(b"iCCP", b"icc\0\0" + zeros(1 << 28))), CLEANED
    yield "200,000 chunks", png(small, row, chunk(b"tEXt", b"a\0b") * 200_000), REFUSED
    yield "a chunk of 4 GB", START + small + b"\xff\xff\xff\xffIDAT" + row, REFUSED
    yield "APNG with 500 frames", animated("PNG", 500), CLEANED
    yield "truncated PNG", saved("PNG", 64)[:-40], REFUSED
    yield "PNG with a zip behind it", saved("PNG") + b"PK\3\4" + b"z" * 9999, CLEANED
    yield "PNG with a script inside", png(small, row, chunk(b"tEXt", b"a\0<script>")), CLEANED
    yield "PNG that lies about its pixels", png(header(4000, 4000), row), REFUSED


def other_bombs() -> Iterator[tuple[str, bytes, str]]:
    """Name, file, what becomes of it."""
    still = saved("WEBP", lossless=True)[12:]
    still_chunk = (b"VP8L", still[8:])
    yield "animated WebP with 500 frames", animated("WEBP", 500), CLEANED
    yield "WebP with a canvas of 16,384 px", webp(canvas(16_384, 16_384, 2)), REFUSED
    yield "WebP with a canvas of 2^24 px", webp(canvas(1 << 24, 1 << 24), still_chunk), REFUSED
    yield "WebP with a false canvas", webp(canvas(4000, 4000), still_chunk), REFUSED
    yield "WebP with an ICC bomb", webp(canvas(16, 16, 0x20), (b"ICCP", zeros(1 << 24)),
                                        still_chunk), CLEANED  # fmt: skip
    yield "truncated WebP", saved("WEBP", 64)[:-9], REFUSED
    yield "JPEG with 20,000 scans", many_scans(), REFUSED
    yield "JPEG of 65,500 px square", resized_jpeg(65_500, 65_500), REFUSED
    yield "JPEG without height", resized_jpeg(16, 0), REFUSED
    comments = b"\xff\xfe\xff\xff" + b"c" * 65_533
    jpeg = saved("JPEG")
    yield "JPEG with 200 comments", jpeg[:2] + comments * 200 + jpeg[2:], CLEANED
    yield "JPEG of fill bytes", jpeg[:2] + b"\xff" * 5_000_000, REFUSED
    yield "JPEG with a script inside", jpeg[:2] + b"\xff\xfe\0\x0a<script>" + jpeg[2:], CLEANED
    yield "truncated JPEG", saved("JPEG", 64)[:300], REFUSED
    yield "GIF", saved("GIF"), REFUSED
    yield "TIFF", saved("TIFF"), REFUSED
    yield "EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", REFUSED
    yield "SVG", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", REFUSED
    yield "GIF that is a script", b"GIF89a/*" + b"\0" * 50 + b"*/=1;alert(1)", REFUSED
    yield "a page that ends in a PNG", b"<!DOCTYPE html><script></script>" + saved("PNG"), REFUSED
    yield "nothing", b"", REFUSED
    yield "the first eight bytes of a PNG", START, REFUSED


BOMBS = [*png_bombs(), *other_bombs()]


def peak(pid: int) -> int:
    """The largest memory that a process has had, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def outcomes() -> tuple[dict[str, str], int, int]:
    """(what became of each file, how many children it took, the last one's largest memory)."""
    became: dict[str, str] = {}
    pids = set()

    async def play() -> int:
        guard = Guard(seconds=60, patience=250.0)
        try:
            for name, data, _ in BOMBS:
                try:
                    ours = await guard.normalise(data, name)
                    picture = decode(ours.file)
                    small = len(ours.file) < LIMIT and (picture.width, picture.height) < (65, 65)
                    became[name] = CLEANED if small and b"script" not in ours.file else "kept"
                except InvalidPicture as error:
                    became[name] = REFUSED if error.message.startswith(name) else "unnamed"
                pids.update(child.pid for child in guard._all)
            return peak(max(pids))
        finally:
            await guard.stop()

    most = asyncio.run(play())
    return became, len(pids), most


@pytest.fixture(scope="module")
def ended() -> tuple[dict[str, str], int, int]:
    return outcomes()


def test_there_are_thirty_bombs_and_more() -> None:
    assert len({name for name, *_ in BOMBS}) == len(BOMBS) >= 30
    assert all(len(data) <= 20 << 20 for _, data, _ in BOMBS)


@pytest.mark.parametrize(("name", "expected"), [(name, expected) for name, _, expected in BOMBS])
def test_a_bomb_does_not_go_off(
    ended: tuple[dict[str, str], int, int], name: str, expected: str
) -> None:
    assert ended[0][name] == expected


def test_one_child_outlives_them_all_in_bounded_memory(
    ended: tuple[dict[str, str], int, int],
) -> None:
    _, children, most = ended
    assert children == 1
    assert most <= MEMORY


def test_the_largest_picture_that_is_read_fits() -> None:
    """25 megapixels with transparency take the most memory, and are no bomb."""
    data = png(header(5000, 5000, 8, 6), zeros(5000 * 20_001))

    async def play() -> tuple[int, int, int]:
        guard = Guard(seconds=60, patience=250.0)
        try:
            ours = await guard.normalise(data)
            return ours.width, ours.height, max(peak(child.pid) for child in guard._all)
        finally:
            await guard.stop()

    width, height, most = asyncio.run(play())
    assert (width, height) == (5000, 5000)
    assert most <= MEMORY
