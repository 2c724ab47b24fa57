"""A picture's file becomes pixels, under guard: what comes in here was sent by strangers.

PNG, JPEG and WebP only, at most 96 MB and 25 megapixels, both checked before anything is decoded.
The pixels come out as a viewer shows them: turned as EXIF says, transparency laid on white, every
palette, gray, CMYK or 16-bit file as 8-bit RGB. Colour profiles are not applied: the numbers are
taken as sRGB. Of an animation the first frame counts (of an animated PNG its default picture).
"""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Final

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from linocut.errors import InvalidPicture
from linocut.images.containers import (
    Container,
    Damaged,
    container_of,
    exif_orientation,
    for_the_decoder,
)
from linocut.request import MOST_DECODED, Picture

MAX_PIXELS: Final = 25_000_000
MAX_JPEG_SCANS: Final = 100  # a progressive file has about ten; thousands would decode for hours

# Named directly, so that no other format's reader can be reached, whatever the bytes say.
_READERS: Final[dict[Container, type[ImageFile]]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRANGERS: Final = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"%PDF": "a PDF",
    b"<svg": "an SVG",
    b"<?xml": "an XML file",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
_DECODER_ERRORS: Final = (
    OSError, SyntaxError, ValueError, EOFError, struct.error,
    IndexError, KeyError, TypeError, OverflowError, MemoryError, Image.DecompressionBombError,
)  # fmt: skip


def decode(data: bytes, *, name: str = "the picture") -> Picture:
    """The file's pixels as RGB; InvalidPicture says in words what is wrong with the file."""
    container = container_of(data)
    if len(data) > MOST_DECODED:
        raise _too_long(name)
    if container is None:
        raise _not_a_picture(data, name)
    try:
        if container == "webp":
            _check_size(_webp_size(data), name)  # its reader makes room as soon as it opens
        image: Image.Image = _READERS[container](io.BytesIO(for_the_decoder(data)))
        _check_size(image.size, name)
        _check_scans(data, container, name)
        upright = _TURNS.get(exif_orientation(data))
        image = _to_rgb(image)
        if upright is not None:
            image = image.transpose(upright)
        return Picture(*image.size, image.tobytes())
    except Damaged as error:
        raise InvalidPicture(f"{name} {error}", hint=_DAMAGED) from error
    except InvalidPicture:
        raise
    except _DECODER_ERRORS as error:
        message = f"{name} cannot be decoded: the file is damaged or cut off"
        raise InvalidPicture(message, hint=_DAMAGED) from error


_DAMAGED: Final = "open it in a picture program and save it again, or fetch it again"


def read_picture(path: Path) -> Picture:
    """The pixels of a file that a person named; InvalidPicture if it is missing or no picture."""
    return decode(read_file(path), name=str(path))


def read_file(path: Path) -> bytes:
    """The bytes of a picture's file; InvalidPicture if it cannot be read or is over 96 MB."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_DECODED + 1)
    except FileNotFoundError as error:
        is_address = str(path).startswith(("http:", "https:"))
        hint = "download it first" if is_address else "check the path"
        raise InvalidPicture(f"there is no file {path}", hint=hint) from error
    except IsADirectoryError as error:
        raise InvalidPicture(f"{path} is a folder, not a picture") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidPicture(f"{path} cannot be read: {reason}") from error
    if len(data) > MOST_DECODED:
        raise _too_long(str(path))
    return data


def _to_rgb(image: Image.Image) -> Image.Image:
    """Eight bits of red, green and blue; transparency is laid on white."""
    if image.mode.startswith("I"):  # 16-bit gray: Pillow would clip it at 255
        image = image.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
    return image.convert("RGB")


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InvalidPicture(
            f"{name} is {width} x {height}, {width * height / 1e6:,.0f} megapixels; "
            f"at most {MAX_PIXELS / 1e6:.0f} are read",
            hint="make it smaller first: a reference is never looked at beyond 4 megapixels",
        )


def _check_scans(data: bytes, container: Container, name: str) -> None:
    if container == "jpeg" and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise InvalidPicture(f"{name} has more than {MAX_JPEG_SCANS} scans", hint=_DAMAGED)


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas as the first chunk declares it, wherever that chunk claims to end."""
    name, body = data[12:16], data[20:30]
    if name == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF


def _not_a_picture(data: bytes, name: str) -> InvalidPicture:
    if not data:
        return InvalidPicture(f"{name} is empty")
    start = data[:64].lstrip()
    kinds = [kind for magic, kind in _STRANGERS.items() if start.startswith(magic)]
    if data[4:8] == b"ftyp":
        kinds = ["an AVIF, HEIC or video file"]
    what = f"is {kinds[0]}" if kinds else "is no picture that can be read"
    return InvalidPicture(f"{name} {what}", hint="save it as PNG, JPEG or WebP")


def _too_long(name: str) -> InvalidPicture:
    most = MOST_DECODED // 1024**2
    return InvalidPicture(f"{name} is over {most} MB", hint="make it smaller first")
