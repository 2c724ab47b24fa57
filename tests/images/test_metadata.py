"""`read_metadata`: what linocut wrote comes back; what strangers wrote does no harm."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pyexiv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from linocut.images.encode import FORMATS, Format, encode
from linocut.images.metadata import NAMESPACE, Metadata, read_metadata, xmp_packet
from linocut.request import Picture


def png_with(packet: str, *, compressed: bool = False) -> bytes:
    file, info = io.BytesIO(), PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet, zip=compressed)
    Image.new("RGB", (2, 2)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def packet_with(parameters: object) -> str:
    """A packet of ours with other parameters."""
    text = parameters if isinstance(parameters, str) else json.dumps(parameters)
    return f'<x xmlns:l="{NAMESPACE}"><y l:parameters="{text.replace(chr(34), "&quot;")}"/></x>'


def test_every_value_comes_back(picture: Picture, metadata: Metadata) -> None:
    assert read_metadata(png_with(xmp_packet(metadata).decode())) == metadata


def test_a_packet_that_was_compressed_comes_back(metadata: Metadata) -> None:
    assert read_metadata(png_with(xmp_packet(metadata).decode(), compressed=True)) == metadata


@pytest.mark.parametrize("format", FORMATS)
def test_it_survives_another_program_that_writes_the_file_anew(
    picture: Picture, metadata: Metadata, format: Format
) -> None:
    with pyexiv2.ImageData(encode(picture, format=format, metadata=metadata)) as image:
        image.modify_xmp({"Xmp.dc.creator": ["somebody"]})
        data = image.get_bytes()
    assert read_metadata(data) == metadata


def test_parameters_may_stand_in_an_element(metadata: Metadata) -> None:
    text = json.dumps(metadata.to_json()).replace("<", "&lt;").replace("&", "&amp;")
    packet = f'<x xmlns:l="{NAMESPACE}"><l:parameters>{text}</l:parameters></x>'
    assert read_metadata(png_with(packet)) == metadata


def test_a_value_of_a_later_version_is_passed_over(metadata: Metadata) -> None:
    later = metadata.to_json() | {"lora": "none yet"}
    assert read_metadata(png_with(packet_with(later))) == metadata


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "4711"),
        ("seed", -1),
        ("seed", True),
        ("threads", "2"),
        ("threads", -1),
        ("threads", 1.5),
        ("seed", 10**30),
        ("width", 48.0),
        ("demo", 1),
        ("prompt", 5),
        ("guidance", "3"),
        ("guidance", float("nan")),
        ("guidance", float("inf")),
        ("checkpoint", None),
        ("mode", ["exact"]),
    ],
)
def test_a_value_of_another_kind_is_not_believed(metadata: Metadata, name: str, value: Any) -> None:
    assert read_metadata(png_with(packet_with(metadata.to_json() | {name: value}))) is None


def test_a_missing_value_is_not_made_up(metadata: Metadata) -> None:
    values = metadata.to_json()
    del values["seed"]
    assert read_metadata(png_with(packet_with(values))) is None


@pytest.mark.parametrize(
    "parameters", ["", "[]", "null", "{", "[" * 100_000, "1" * 5000, '{"seed":' + "1" * 5000 + "}"]
)
def test_json_that_is_none_of_ours_is_none(parameters: str) -> None:
    assert read_metadata(png_with(packet_with(parameters))) is None


@pytest.mark.parametrize(
    "packet",
    [
        "",
        "no XML at all",
        "<x>",
        "<x/>",
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>',
        "<x>" * 50_000,
    ],
)
def test_foreign_or_hostile_xml_is_none(packet: str) -> None:
    assert read_metadata(png_with(packet)) is None


def test_a_document_type_is_refused_even_around_our_own(metadata: Metadata) -> None:
    packet = "<!DOCTYPE x>" + packet_with(metadata.to_json())
    assert read_metadata(png_with(packet)) is None


def test_a_packet_beyond_the_limit_is_not_parsed(metadata: Metadata) -> None:
    packet = packet_with(metadata.to_json()) + "<!--" + "x" * (1 << 20) + "-->"
    assert read_metadata(png_with(packet)) is None


def test_a_compressed_packet_is_not_blown_up(metadata: Metadata) -> None:
    packet = " " * 50_000_000 + packet_with(metadata.to_json())
    assert read_metadata(png_with(packet, compressed=True)) is None


def test_a_file_from_before_threads_were_noted_is_read(
    picture: Picture, metadata: Metadata
) -> None:
    data = encode(picture, format="png", metadata=replace(metadata, threads=None))
    assert b"threads" not in data
    assert read_metadata(data) == replace(metadata, threads=None)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_of_another_program_has_none(format: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, format)
    assert read_metadata(file.getvalue()) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_harmless(data: bytes) -> None:
    assert read_metadata(data) is None


@given(
    format=st.sampled_from(FORMATS), flips=st.lists(st.tuples(st.integers(0), st.integers(0, 7)))
)
@settings(max_examples=100, deadline=None)
def test_flipped_bits_are_harmless(format: Format, flips: list[tuple[int, int]]) -> None:
    written = Metadata(
        prompt="a red apple", seed=1, width=2, height=1, drawn_width=2, drawn_height=1,
        num_inference_steps=28, guidance=3.0, prompt_strength=1.0, references=0,
        checkpoint="linocut-mini", mode="exact", demo=True,
    )  # fmt: skip
    data = bytearray(encode(Picture(2, 1, b"abcdef"), format=format, metadata=written))
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    assert isinstance(read_metadata(bytes(data)), Metadata | None)
