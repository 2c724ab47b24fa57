"""`decode`: what a viewer shows, or InvalidPicture in words; never anything else."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from linocut.errors import InvalidPicture
from linocut.images.decode import MAX_JPEG_SCANS, decode, read_picture
from linocut.request import MOST_DECODED, Picture

FORMATS = ("PNG", "JPEG", "WEBP")


def file_of(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def marked() -> Image.Image:
    """16 x 8, gray, with a red block in the top left corner."""
    image = Image.new("RGB", (16, 8), (128, 128, 128))
    image.paste((255, 0, 0), (0, 0, 8, 4))
    return image


def pixel(picture: Picture, x: int, y: int) -> tuple[int, ...]:
    at = 3 * (y * picture.width + x)
    return tuple(picture.rgb[at : at + 3])


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG made by hand: what Pillow cannot write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + image + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", FORMATS)
def test_the_pixels_are_those_of_the_file(format: str) -> None:
    picture = decode(file_of(marked(), format, lossless=True, quality=95, subsampling=0))
    assert (picture.width, picture.height) == (16, 8)
    assert all(abs(a - b) < 6 for a, b in zip(pixel(picture, 1, 1), (255, 0, 0), strict=True))
    assert all(abs(a - 128) < 6 for a in pixel(picture, 15, 7))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_stands_as_exif_says(format: str, orientation: int) -> None:
    stored = Image.new("RGB", (16, 8), "gray")
    stored.paste("red", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = file_of(stored, format, exif=exif, lossless=True, quality=95, subsampling=0)
    picture = decode(data)
    sideways = orientation >= 5
    assert (picture.width, picture.height) == ((8, 16) if sideways else (16, 8))
    right = orientation in (2, 3, 6, 7)
    bottom = orientation in (3, 4, 7, 8)
    x, y = (picture.width - 2 if right else 1), (picture.height - 2 if bottom else 1)
    assert pixel(picture, x, y)[0] > 200
    assert pixel(picture, x, y)[1] < 60


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_is_read_in_both_byte_orders_and_widths(order: str, kind: int) -> None:
    mark = "<" if order == "II" else ">"
    entry = struct.pack(f"{mark}HHI", 0x0112, kind, 1)
    entry += struct.pack(f"{mark}HH", 6, 0) if kind == 3 else struct.pack(f"{mark}I", 6)
    exif = order.encode() + struct.pack(f"{mark}HIH", 42, 8, 1) + entry + b"\0\0\0\0"
    picture = decode(file_of(marked(), "PNG", exif=exif))
    assert (picture.width, picture.height) == (8, 16)


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"rubbish"]
)
@pytest.mark.parametrize("format", FORMATS)
def test_broken_exif_is_passed_over(format: str, exif: bytes) -> None:
    picture = decode(file_of(marked(), format, exif=b"Exif\0\0" + exif))
    assert (picture.width, picture.height) == (16, 8)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    for format in ("PNG", "WEBP"):
        assert pixel(decode(file_of(clear, format, lossless=True)), 0, 0) == (255, 255, 255)
        assert pixel(decode(file_of(half, format, lossless=True)), 0, 0) == (127, 127, 127)


def test_gray_with_transparency_is_laid_on_white() -> None:
    data = file_of(Image.new("LA", (4, 4), (0, 0)), "PNG")
    assert pixel(decode(data), 0, 0) == (255, 255, 255)


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert pixel(decode(file_of(image, "PNG")), 0, 0) == (10, 20, 30)
    assert pixel(decode(file_of(image, "PNG", transparency=1)), 0, 0) == (255, 255, 255)
    assert pixel(decode(file_of(image, "PNG", transparency=b"\xff\x00")), 0, 0) == (255,) * 3


def test_a_transparent_colour_is_laid_on_white() -> None:
    image = Image.new("RGB", (4, 4), (9, 8, 7))
    assert pixel(decode(file_of(image, "PNG", transparency=(9, 8, 7))), 0, 0) == (255, 255, 255)
    gray = Image.new("L", (4, 4), 9)
    assert pixel(decode(file_of(gray, "PNG", transparency=9)), 0, 0) == (255, 255, 255)


def test_sixteen_bit_gray_keeps_its_tones() -> None:
    rows = b"\0" + struct.pack(">4H", 0, 257 * 60, 257 * 128, 65535)
    picture = decode(png(4, 1, 16, 0, rows))
    assert [pixel(picture, x, 0) for x in range(4)] == [(v,) * 3 for v in (0, 60, 128, 255)]


def test_sixteen_bit_gray_with_a_transparent_tone_is_laid_on_white() -> None:
    rows = b"\0" + struct.pack(">2H", 257 * 60, 257 * 61)
    picture = decode(png(2, 1, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 257 * 60))))
    assert [pixel(picture, x, 0) for x in range(2)] == [(255,) * 3, (61,) * 3]


def test_sixteen_bit_colour_keeps_its_tones() -> None:
    rgb = b"\0" + struct.pack(">3H", 257 * 10, 257 * 20, 257 * 30)
    assert pixel(decode(png(1, 1, 16, 2, rgb)), 0, 0) == (10, 20, 30)
    rgba = b"\0" + struct.pack(">4H", 257 * 10, 257 * 20, 257 * 30, 0)
    assert pixel(decode(png(1, 1, 16, 6, rgba)), 0, 0) == (255, 255, 255)


def test_black_and_white_and_gray_become_rgb() -> None:
    for mode in ("1", "L"):
        assert pixel(decode(file_of(Image.new(mode, (4, 4), 1), "PNG")), 0, 0) in (
            (255, 255, 255),
            (1, 1, 1),
        )
    gray = decode(file_of(Image.new("L", (8, 8), 77), "JPEG", quality=100))
    assert pixel(gray, 0, 0) == (77, 77, 77)


def test_a_printer_s_cmyk_becomes_rgb() -> None:
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = pixel(decode(file_of(image, "JPEG", quality=100)), 4, 4)
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    data = file_of(
        frames[0], format, save_all=True, append_images=frames[1:], duration=10, lossless=True
    )
    assert pixel(decode(data), 4, 4) == (255, 0, 0)


def test_a_two_picture_jpeg_gives_its_first() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    assert pixel(decode(data), 4, 4)[0] > 240


def test_an_interlaced_or_progressive_file_is_whole() -> None:
    assert decode(file_of(marked(), "JPEG", progressive=True)).width == 16


def test_comments_profiles_and_thumbnails_are_not_parsed() -> None:
    rubbish = chunk(b"iCCP", b"x\0\0not zlib") + chunk(b"zTXt", b"x\0\0" + zlib.compress(b"x" * 9))
    rubbish += chunk(b"acTL", b"\0" * 8) + chunk(b"acTL", b"\0" * 8) + chunk(b"pHYs", b"")
    picture = decode(png(1, 1, 8, 2, b"\0\x01\x02\x03", rubbish))
    assert picture.rgb == b"\x01\x02\x03"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is no picture"),
        (b"GIF89a" + b"\0" * 20, "is a GIF"),
        (b"BM" + b"\0" * 60, "is a BMP"),
        (b"II*\0" + b"\0" * 60, "is a TIFF"),
        (b"%PDF-1.7", "is a PDF"),
        (b"<svg xmlns='x'/>", "is an SVG"),
        (b"\n  <!DOCTYPE html>", "is a web page"),
        (b"\0\0\0\x20ftypavif", "is an AVIF, HEIC or video file"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    with pytest.raises(InvalidPicture) as caught:
        decode(data, name="cat.png")
    assert caught.value.message.startswith(f"cat.png {words}")


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "PPM", "ICO", "TGA"])
def test_other_formats_are_never_opened(format: str) -> None:
    with pytest.raises(InvalidPicture):
        decode(file_of(marked(), format))


def test_a_postscript_file_is_never_run() -> None:
    with pytest.raises(InvalidPicture):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def huge_png() -> bytes:
    return png(60_000, 60_000, 8, 2, b"\0")


def huge_jpeg() -> bytes:
    data = bytearray(file_of(marked(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    return bytes(data)


def huge_webp() -> bytes:
    side = (16_000).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + side + side
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("huge", [huge_png, huge_jpeg, huge_webp])
def test_a_huge_picture_is_refused_by_its_header(huge: Callable[[], bytes]) -> None:
    data = huge()
    tracemalloc.start()
    with pytest.raises(InvalidPicture, match="megapixels; at most 25 are read"):
        decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_the_largest_that_is_read_is_25_megapixels() -> None:
    assert decode(file_of(Image.new("L", (5000, 5000)), "PNG")).width == 5000
    with pytest.raises(InvalidPicture, match="5001 x 5000"):
        decode(file_of(Image.new("L", (5001, 5000)), "PNG"))


def test_a_file_over_96_mb_is_refused() -> None:
    with pytest.raises(InvalidPicture, match="over 96 MB"):
        decode(b"\x89PNG\r\n\x1a\n" + bytes(MOST_DECODED))


def test_thousands_of_scans_are_not_decoded() -> None:
    data = file_of(marked(), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : data.rindex(b"\xff\xd9")]
    with pytest.raises(InvalidPicture, match="scans"):
        decode(data[:-2] + scan * MAX_JPEG_SCANS + b"\xff\xd9")


@pytest.mark.parametrize("format", FORMATS)
def test_a_truncated_file_is_refused_in_words(format: str) -> None:
    noisy = Image.effect_noise((64, 64), 80).convert("RGB")
    data = file_of(noisy, format)
    for end in (12, 40, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(InvalidPicture, match=r"^x\.png (ends too early|cannot be decoded)"):
            decode(data[:end], name="x.png")


SAMPLES = {
    "png": file_of(marked(), "PNG"),
    "palette": file_of(marked().quantize(4), "PNG", transparency=1),
    "apng": file_of(marked(), "PNG", save_all=True, append_images=[Image.new("RGB", (16, 8))]),
    "deep": png(2, 1, 16, 0, b"\0\1\2\3\4", chunk(b"tRNS", b"\1\2")),
    "jpeg": file_of(
        marked(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0"
    ),
    "progressive": file_of(marked(), "JPEG", progressive=True),
    "cmyk": file_of(marked().convert("CMYK"), "JPEG"),
    "webp": file_of(marked(), "WEBP"),
    "lossless": file_of(marked().convert("RGBA"), "WEBP", lossless=True),
    "extended": file_of(marked().convert("RGBA"), "WEBP", exif=b"MM\0*", xmp=b"<x/>"),
    "animated": file_of(
        marked(), "WEBP", save_all=True, append_images=[Image.new("RGB", (16, 8))]
    ),
}  # fmt: skip


def survives(data: bytes) -> None:
    """It decodes, or it raises InvalidPicture."""
    with suppress(InvalidPicture):
        decode(data)


@given(st.binary(max_size=300), st.sampled_from([b"", *(data[:30] for data in SAMPLES.values())]))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_are_refused(data: bytes, start: bytes) -> None:
    survives(start + data)


@given(st.sampled_from(sorted(SAMPLES)), st.data())
@settings(max_examples=300, deadline=None)
def test_any_truncation_decodes_or_is_refused(name: str, draw: st.DataObject) -> None:
    data = SAMPLES[name]
    survives(data[: draw.draw(st.integers(0, len(data)))])


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=8),
)
@example("jpeg", [(0, 0)])
@settings(max_examples=600, deadline=None)
def test_any_changed_bytes_decode_or_are_refused(name: str, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SAMPLES[name])
    for place, value in changes:
        data[place % len(data)] = value
    survives(bytes(data))


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "cat.webp"
    path.write_bytes(file_of(marked(), "WEBP"))
    assert read_picture(path).width == 16


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidPicture, match="there is no file"):
        read_picture(tmp_path / "cat.png")


def test_an_address_is_not_fetched() -> None:
    with pytest.raises(InvalidPicture) as caught:
        read_picture(Path("http://127.0.0.1/cat.png"))
    assert caught.value.hint == "download it first"


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(InvalidPicture, match="is a folder"):
        read_picture(tmp_path)


def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPicture, match="cannot be read"):
        read_picture(Path("a\0b"))
    with pytest.raises(InvalidPicture, match="cannot be read"):
        read_picture(Path("x" * 5000))


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(InvalidPicture, match="over 96 MB"):
        read_picture(Path(os.devnull).with_name("zero"))
