"""Parts of files: found without decoding, and nothing else than needed is kept."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from linocut.images.containers import (
    JPEG_SEGMENT,
    Damaged,
    container_of,
    exif_orientation,
    for_the_decoder,
    jpeg_extension,
    parts,
    xmp_packets,
)

FORMATS = ("PNG", "JPEG", "WEBP")
PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


def file_of(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_bytes_tell_the_format(format: str) -> None:
    assert container_of(file_of(format)) == format.lower()
    assert container_of(b"GIF89a") is None


@pytest.mark.parametrize("format", FORMATS)
def test_the_parts_are_the_whole_file(format: str) -> None:
    data = file_of(format)
    start = {"PNG": data[:8], "JPEG": data[:2], "WEBP": data[:12]}[format]
    assert start + b"".join(part.whole for part in parts(data)) == data


def test_a_decoder_sees_no_metadata() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    info = PngInfo()
    info.add_text("Comment", "a secret")
    for format in ("PNG", "JPEG"):
        data = file_of(format, icc_profile=profile, exif=exif, comment=b"a secret", pnginfo=info)
        bare = for_the_decoder(data)
        assert b"secret" in data
        assert b"secret" not in bare
        assert b"ICC" not in bare
        with Image.open(io.BytesIO(bare)) as image, Image.open(io.BytesIO(data)) as whole:
            assert image.tobytes() == whole.tobytes()


def test_the_colours_of_adobe_s_jpeg_stay_what_they_are() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (8, 8), (200, 10, 10, 0)).save(file, "JPEG")
    assert b"Adobe" in for_the_decoder(file.getvalue())


def test_rubbish_between_a_jpeg_s_segments_is_skipped() -> None:
    data = file_of("JPEG")
    padded = data[:20] + b"\0\0\xff\xff\xff" + data[21:]
    assert [part.name for part in parts(padded)] == [part.name for part in parts(data)]
    with Image.open(io.BytesIO(for_the_decoder(padded))) as image:
        image.load()


def test_bytes_behind_a_webp_s_end_are_passed_over() -> None:
    data = file_of("WEBP", xmp=PACKET)
    assert xmp_packets(data + b"rubbish") == [PACKET]


@pytest.mark.parametrize("format", FORMATS)
def test_the_packet_is_found(format: str) -> None:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", PACKET.decode())
    assert xmp_packets(file_of(format, xmp=PACKET, pnginfo=info)) == [PACKET]
    assert xmp_packets(file_of(format)) == []


def test_an_extension_is_put_together_again() -> None:
    long = b"<y>" + bytes(range(32, 128)) * 2000 + b"</y>"
    segments = jpeg_extension(long)
    name = segments[4 + 35 : 4 + 35 + 32]
    data = file_of("JPEG", xmp=PACKET + name, extra=segments)
    assert xmp_packets(data) == [PACKET + name, long]
    assert all(len(part.body) <= JPEG_SEGMENT for part in parts(data) if part.name == "E1")


def test_an_extension_that_nobody_names_or_that_is_not_whole_is_left_out() -> None:
    segments = jpeg_extension(b"x" * 100)
    name = segments[4 + 35 : 4 + 35 + 32]
    assert xmp_packets(file_of("JPEG", xmp=PACKET, extra=segments)) == [PACKET]
    broken = segments[:-1] + b"y"
    assert xmp_packets(file_of("JPEG", xmp=name, extra=broken)) == [name]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_stops_inside_a_part_is_damaged(format: str) -> None:
    data = file_of(format, exif=b"Exif\0\0" + bytes(100))
    with pytest.raises(Damaged, match="ends too early"):
        list(parts(data[: 8 + 12 + 5]))


def test_a_file_of_countless_parts_is_damaged() -> None:
    data = b"\xff\xd8" + b"\xff\xfe\x00\x02" * 200_000
    with pytest.raises(Damaged, match="more than 100,000 parts"):
        list(parts(data))


def test_endless_rubbish_ends_in_time() -> None:
    with pytest.raises(Damaged):
        list(parts(b"\xff\xd8\xff" + b"\xff\x00" * 16_000_000))


def test_no_exif_means_upright() -> None:
    assert exif_orientation(file_of("PNG")) == 1
