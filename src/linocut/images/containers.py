"""The parts of a picture's file, found without decoding it: its pixels', its EXIF, its XMP.

Files are untrusted: the work is bounded by the file's own length, and what does not add up raises
`Damaged`. Only the parts that pixels need are later shown to a decoder (`for_the_decoder`), so that
colour profiles, comments, thumbnails and animations are never parsed by anybody.

Sources: PNG third edition, 5 and 11; ITU-T T.81, B.1; the WebP container specification; XMP
specification part 3 (where a packet sits in each format, and JPEG's extension beyond 64 KB).
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Container = Literal["png", "jpeg", "webp"]

MAX_PARTS: Final = 100_000
MAX_XMP: Final = 1 << 20
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
PNG_XMP: Final = b"XML:com.adobe.xmp\0"
JPEG_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
JPEG_XMP_MORE: Final = b"http://ns.adobe.com/xmp/extension/\0"
JPEG_SEGMENT: Final = 65_533  # bytes that a segment holds after its length

_PNG_PIXELS: Final = frozenset({"IHDR", "PLTE", "tRNS", "IDAT", "IEND"})
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_JPEG_START_OF_SCAN: Final = 0xDA
_JPEG_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_ASIDES: Final = frozenset({f"{marker:02X}" for marker in range(0xE1, 0xF0)} | {"FE"})
_JPEG_ADOBE: Final = "EE"  # says which colours the components are


class Damaged(ValueError):
    """The file's parts do not add up; the message goes after its name: "cat.png ends too early"."""


@dataclass(frozen=True, slots=True)
class Part:
    """A named piece of a file: a PNG or WebP chunk, or a JPEG segment (its marker in hex)."""

    name: str
    body: memoryview
    whole: memoryview

    def after(self, start: bytes) -> bytes | None:
        """The body's bytes behind `start`; None if it begins otherwise."""
        begins = bytes(self.body[: len(start)]) == start
        return bytes(self.body[len(start) :]) if begins else None


def container_of(data: bytes) -> Container | None:
    """Which of the three formats the first bytes announce."""
    if data.startswith(PNG_START):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    return None


def parts(data: bytes) -> Iterator[Part]:
    """The file's pieces in order; a JPEG's last one begins with its first scan."""
    walk = {"png": _png_chunks, "jpeg": _jpeg_segments, "webp": _webp_chunks}
    container = container_of(data)
    if container is None:
        raise Damaged("is no PNG, JPEG or WebP picture")
    for number, part in enumerate(walk[container](memoryview(data))):
        if number >= MAX_PARTS:
            raise Damaged(f"has more than {MAX_PARTS:,} parts")
        yield part


def for_the_decoder(data: bytes) -> bytes:
    """The same picture without the parts that its pixels do not need."""
    container = container_of(data)
    if container == "png":
        kept = [part.whole for part in parts(data) if part.name in _PNG_PIXELS]
        return PNG_START + b"".join(kept)
    if container == "jpeg":
        dropped = _JPEG_ASIDES - {_JPEG_ADOBE}
        kept = [part.whole for part in parts(data) if part.name not in dropped]
        return b"\xff\xd8" + b"".join(kept)
    return data


def exif_orientation(data: bytes) -> int:
    """EXIF's orientation, 1 (upright) to 8; 1 where the file has none that can be read."""
    for part in parts(data):
        if part.name in ("eXIf", "EXIF", "E1"):
            exif = part.after(b"Exif\0\0")
            if exif is not None or part.name != "E1":
                return _orientation(bytes(part.body) if exif is None else exif)
    return 1


def xmp_packets(data: bytes) -> list[bytes]:
    """The file's XMP packets, the main one first; [] without XMP."""
    packets: list[bytes] = []
    more: dict[bytes, dict[int, bytes]] = {}
    for part in parts(data):
        if part.name == "XMP ":
            packets.append(bytes(part.body))
        elif part.name == "iTXt" and (text := part.after(PNG_XMP)) is not None:
            packets.append(_png_text(text))
        elif part.name == "E1" and (text := part.after(JPEG_XMP)) is not None:
            packets.append(text)
        elif part.name == "E1" and (piece := part.after(JPEG_XMP_MORE)) is not None:
            more.setdefault(piece[:32], {})[int.from_bytes(piece[36:40], "big")] = piece[40:]
    for name, pieces in more.items():
        packet = b"".join(pieces[offset] for offset in sorted(pieces))
        if packets and name in packets[0] and name == extension_name(packet):
            packets.append(packet)
    return [packet for packet in packets if len(packet) <= MAX_XMP]


def extension_name(packet: bytes) -> bytes:
    """The name by which a JPEG's main packet refers to an extended one: its MD5 in hex."""
    return hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()


def jpeg_extension(packet: bytes) -> bytes:
    """APP1 segments that carry a packet of any length beside a JPEG's main one."""
    head = JPEG_XMP_MORE + extension_name(packet) + len(packet).to_bytes(4, "big")
    room = JPEG_SEGMENT - len(head) - 4
    segments = (
        head + offset.to_bytes(4, "big") + packet[offset : offset + room]
        for offset in range(0, len(packet), room)
    )
    return b"".join(b"\xff\xe1" + (len(s) + 2).to_bytes(2, "big") + s for s in segments)


def _png_chunks(data: memoryview) -> Iterator[Part]:
    at = len(PNG_START)
    while True:
        body = _slice(data, at + 8, int.from_bytes(data[at : at + 4], "big"))
        end = at + 12 + len(body)
        name = str(data[at + 4 : at + 8], "latin-1")
        yield Part(name, body, _slice(data, at, end - at))
        if name == "IEND":
            return
        at = end


def _webp_chunks(data: memoryview) -> Iterator[Part]:
    at = 12
    last = 8 + int.from_bytes(data[4:8], "little")
    while at < last:
        body = _slice(data, at + 8, int.from_bytes(data[at + 4 : at + 8], "little"))
        end = at + 8 + len(body) + len(body) % 2
        yield Part(str(data[at : at + 4], "latin-1"), body, data[at:end])
        at = end


def _jpeg_segments(data: memoryview) -> Iterator[Part]:
    at = 2
    while True:
        start, marker = _next_marker(data, at)
        if marker in _JPEG_WITHOUT_LENGTH:
            at = start + 2
            continue
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        body = _slice(data, start + 4, length - 2)
        at = start + 2 + length
        if marker == _JPEG_START_OF_SCAN:
            yield Part("DA", body, data[start:])
            return
        yield Part(f"{marker:02X}", body, data[start:at])


def _next_marker(data: memoryview, at: int) -> tuple[int, int]:
    """(where it stands, marker): fill bytes and rubbish before it are skipped, as decoders do."""
    found = _MARKER.search(data, at)
    if found is None:
        raise Damaged("ends too early")
    return found.start(), data[found.start() + 1]


def _slice(data: memoryview, start: int, length: int) -> memoryview:
    if length < 0 or start + length > len(data):
        raise Damaged("ends too early")
    return data[start : start + length]


def _png_text(body: bytes) -> bytes:
    """An iTXt chunk's text; after its keyword come compressed?, method, language, translation."""
    compressed = body[:1] == b"\1"
    fields = body[2:].split(b"\0", 2)
    text = fields[-1] if len(fields) == 3 else b""
    if not compressed:
        return text
    try:
        return zlib.decompressobj().decompress(text, MAX_XMP)
    except zlib.error:
        return b""


def _orientation(exif: bytes) -> int:
    """Tag 0x0112 of the first directory of a TIFF header."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    first = number(4, 4)
    for entry in range(first + 2, first + 2 + 12 * number(first, 2), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 4 if number(entry + 2, 2) == 4 else 2)
            return value if 1 <= value <= 8 else 1
    return 1
