"""`encode`: files that decode to the picture and that somebody else's parser reads too."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace

import pyexiv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from linocut.errors import InvalidRequest
from linocut.images.decode import decode
from linocut.images.encode import FORMATS, Format, encode
from linocut.images.metadata import AI_MARK, Metadata, read_metadata
from linocut.request import Picture

PROMPTS = (
    "a red apple",
    'a "quoted" <b>word</b> & more \u2019\'',
    "two\nlines\r\nand\ta tab",
    "\u732b \u0645\u0631\u062d\u0628\u0627 \U0001f34e\U0001f468\u200d\U0001f469",
    "not XML: \x00 \x08 \x1b[31m \ufffe \uffff \x7f \x85 \u2028",
    "]]> --> <?xpacket end='w'?> &#x41; &amp; \\u0041",
    " spaces around ",
    "",
)


def read_by_exiv2(data: bytes) -> dict[str, object]:
    """The file's XMP as exiv2 (Adobe's own parser) sees it."""
    return dict(pyexiv2.ImageData(data).read_xmp())


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def distance(a: Picture, b: Picture) -> float:
    """Mean difference of a colour value, of 255."""
    return sum(abs(x - y) for x, y in zip(a.rgb, b.rgb, strict=True)) / len(a.rgb)


@pytest.mark.parametrize(("format", "name"), [("webp", "WEBP"), ("jpg", "JPEG"), ("png", "PNG")])
def test_the_file_is_of_the_format_and_size(
    picture: Picture, metadata: Metadata, format: Format, name: str
) -> None:
    image = opened(encode(picture, format=format, metadata=metadata))
    assert (image.format, image.size, image.mode) == (name, (48, 32), "RGB")


def test_png_keeps_every_pixel(picture: Picture, metadata: Metadata) -> None:
    for quality in (0, 80, 100):
        assert decode(encode(picture, format="png", quality=quality, metadata=metadata)) == picture


def test_quality_changes_nothing_in_png(picture: Picture, metadata: Metadata) -> None:
    files = {encode(picture, format="png", quality=q, metadata=metadata) for q in (0, 50, 100)}
    assert len(files) == 1


@pytest.mark.parametrize("format", ["webp", "jpg"])
def test_more_quality_is_more_bytes_and_less_error(
    picture: Picture, metadata: Metadata, format: Format
) -> None:
    files = [encode(picture, format=format, quality=q, metadata=metadata) for q in (0, 50, 80, 100)]
    sizes = [len(file) for file in files]
    errors = [distance(decode(file), picture) for file in files]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 3


def test_webp_is_lossy_even_at_100(picture: Picture, metadata: Metadata) -> None:
    file = encode(picture, format="webp", quality=100, metadata=metadata)
    assert b"VP8 " in file
    assert b"VP8L" not in file


@pytest.mark.parametrize(("quality", "sampling"), [(89, (2, 2)), (90, (1, 1)), (100, (1, 1))])
def test_jpeg_keeps_full_colour_from_90_on(
    picture: Picture, metadata: Metadata, quality: int, sampling: tuple[int, int]
) -> None:
    file = encode(picture, format="jpg", quality=quality, metadata=metadata)
    frame = file.index(b"\xff\xc0")
    factors = file[frame + 11]  # of the first component: horizontal, vertical
    assert (factors >> 4, factors & 15) == sampling


@pytest.mark.parametrize("format", FORMATS)
def test_the_largest_and_busiest_picture_can_be_written(metadata: Metadata, format: Format) -> None:
    noise = Picture(1024, 1024, random.Random(1).randbytes(3 << 20))  # noqa: S311
    file = encode(noise, format=format, quality=100, metadata=metadata)
    assert decode(file).width == 1024


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_input_gives_the_same_bytes(
    picture: Picture, metadata: Metadata, format: Format
) -> None:
    assert len({encode(picture, format=format, metadata=metadata) for _ in range(5)}) == 1


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_another_parser_reads_the_same_values(
    picture: Picture, metadata: Metadata, format: Format, prompt: str
) -> None:
    written = replace(metadata, prompt=prompt)
    data = encode(picture, format=format, metadata=written)
    seen = read_by_exiv2(data)
    assert seen["Xmp.iptcExt.DigitalSourceType"] == AI_MARK
    assert seen["Xmp.iptcExt.AISystemUsed"] == "linocut-mini"
    assert seen["Xmp.xmp.CreatorTool"] == "linocut 0.1.0"
    assert json.loads(str(seen["Xmp.linocut.parameters"])) == written.to_json()
    assert read_metadata(data) == written


@pytest.mark.parametrize("format", FORMATS)
def test_the_description_is_the_prompt(
    picture: Picture, metadata: Metadata, format: Format
) -> None:
    prompt = "caf\u00e9 <\"&'> \U0001f34e"
    data = encode(picture, format=format, metadata=replace(metadata, prompt=prompt))
    assert read_by_exiv2(data)["Xmp.dc.description"] == {'lang="x-default"': prompt}


@given(prompt=st.text(max_size=60), format=st.sampled_from(FORMATS))
@settings(max_examples=60, deadline=None)
def test_every_prompt_comes_back(prompt: str, format: Format) -> None:
    written = Metadata(
        prompt=prompt, seed=2**53 - 1, width=2, height=1, drawn_width=2, drawn_height=1,
        num_inference_steps=50, guidance=0.1, prompt_strength=0.8, references=10,
        checkpoint=prompt or "x", mode="bf16", demo=False, software="linocut 9 <&>",
    )  # fmt: skip
    data = encode(Picture(2, 1, b"abcdef"), format=format, metadata=written)
    assert read_metadata(data) == written
    assert json.loads(str(read_by_exiv2(data)["Xmp.linocut.parameters"]))["prompt"] == prompt


@pytest.mark.parametrize("format", FORMATS)
def test_without_the_prompt_everything_else_stays(
    picture: Picture, metadata: Metadata, format: Format
) -> None:
    data = encode(picture, format=format, metadata=metadata, embed_prompt=False)
    assert b"apple" not in data
    assert read_metadata(data) == replace(metadata, prompt=None)
    seen = read_by_exiv2(data)
    assert seen["Xmp.iptcExt.DigitalSourceType"] == AI_MARK
    assert "Xmp.dc.description" not in seen


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("letter", ["x", '"', "\U0001f34e"])
def test_the_longest_prompt_fits_every_format(
    picture: Picture, metadata: Metadata, format: Format, letter: str
) -> None:
    written = replace(metadata, prompt=letter * 20_000)
    data = encode(picture, format=format, metadata=written)
    assert read_metadata(data) == written
    assert read_by_exiv2(data)["Xmp.iptcExt.DigitalSourceType"] == AI_MARK
    assert opened(data).size == (48, 32)


def test_a_long_packet_in_jpeg_is_named_by_its_main_one(
    picture: Picture, metadata: Metadata
) -> None:
    data = encode(picture, format="jpg", metadata=replace(metadata, prompt="\U0001f34e" * 20_000))
    name = str(read_by_exiv2(data)["Xmp.xmpNote.HasExtendedXMP"])
    assert len(name) == 32
    assert data.count(b"http://ns.adobe.com/xmp/extension/\0" + name.encode()) > 1


@pytest.mark.parametrize("quality", [-1, 101, True, 80.0])
def test_a_quality_outside_its_range_is_refused(
    picture: Picture, metadata: Metadata, quality: int
) -> None:
    with pytest.raises(InvalidRequest, match="whole number from 0 to 100") as caught:
        encode(picture, format="webp", quality=quality, metadata=metadata)
    assert caught.value.field == "output_quality"


def test_an_unknown_format_is_refused(picture: Picture, metadata: Metadata) -> None:
    with pytest.raises(InvalidRequest, match="use one of webp, jpg, png") as caught:
        encode(picture, format="gif", metadata=metadata)  # type: ignore[arg-type]
    assert caught.value.field == "output_format"
