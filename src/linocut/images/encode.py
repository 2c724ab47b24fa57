"""Pixels become a file: WebP, JPEG or PNG, with its metadata inside. Same input, same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final, Literal, get_args

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from linocut.errors import InvalidRequest
from linocut.images.containers import JPEG_SEGMENT, JPEG_XMP, extension_name, jpeg_extension
from linocut.images.metadata import Metadata, referring_to, split_xmp_packet, xmp_packet
from linocut.request import Picture

Format = Literal["webp", "jpg", "png"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DEFAULT_FORMAT: Final[Format] = "webp"
DEFAULT_QUALITY: Final = 80
FULL_COLOUR_QUALITY: Final = 90  # from here on a JPEG keeps its colours at full resolution


def encode(
    picture: Picture,
    *,
    format: Format = DEFAULT_FORMAT,
    quality: int = DEFAULT_QUALITY,
    metadata: Metadata,
    embed_prompt: bool = True,
) -> bytes:
    """The picture as a file of this format; it says that an AI drew it, and how.

    quality: 0 to 100. It has no effect on PNG, which keeps every pixel. WebP is lossy at 100 too.
    JPEG keeps its colours at full resolution from 90 on and at half of it below.
    embed_prompt: False leaves the prompt out of the file, and nothing else.
    """
    check_output(format, quality)
    image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
    writers: dict[Format, Callable[[Image.Image, int, Metadata], bytes]]
    writers = {"webp": _webp, "jpg": _jpeg, "png": _png}
    return writers[format](image, quality, metadata if embed_prompt else metadata.without_prompt())


def check_output(format: str, quality: int) -> None:
    """Nothing, or InvalidRequest that names the formats or the range."""
    if format not in FORMATS:
        raise InvalidRequest(
            f"output_format={format!r}: use one of {', '.join(FORMATS)}", field="output_format"
        )
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality <= 100:
        raise InvalidRequest(
            f"output_quality={quality!r}: use a whole number from 0 to 100", field="output_quality"
        )


def _webp(image: Image.Image, quality: int, metadata: Metadata) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=quality, method=4, xmp=xmp_packet(metadata))
    return file.getvalue()


def _png(image: Image.Image, _quality: int, metadata: Metadata) -> bytes:
    file, info = io.BytesIO(), PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp_packet(metadata).decode())
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def _jpeg(image: Image.Image, quality: int, metadata: Metadata) -> bytes:
    packet, more = xmp_packet(metadata), b""
    if len(JPEG_XMP) + len(packet) > JPEG_SEGMENT:
        packet, extension = split_xmp_packet(metadata)
        packet = referring_to(packet, extension_name(extension))
        more = jpeg_extension(extension)
    file = io.BytesIO()
    colours = "4:4:4" if quality >= FULL_COLOUR_QUALITY else "4:2:0"
    # Without Huffman optimisation: Pillow's buffer for it is too small for noise at quality 100.
    image.save(file, "JPEG", quality=quality, subsampling=colours, xmp=packet, extra=more)
    return file.getvalue()
