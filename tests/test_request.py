"""A request is right from birth: a wrong value is named, with what was given and is allowed."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.errors import InvalidPicture, InvalidRequest
from linocut.request import (
    MAX_PIXELS,
    MAX_SEED,
    ImageRequest,
    Picture,
    check_side,
    matched_size,
)


def blank(width: int, height: int) -> Picture:
    """A black picture."""
    return Picture(width, height, bytes(3 * width * height))


def test_defaults_are_the_documented_ones() -> None:
    request = ImageRequest(prompt="a red apple")
    assert (request.width, request.height) == (1024, 1024)
    assert (request.num_inference_steps, request.guidance) == (28, 3.0)
    assert (request.seed, request.references, request.prompt_strength) == (0, (), 1.0)
    assert (request.mode, request.preview) == ("exact", False)


WRONG: list[tuple[str, Any, str]] = [
    ("width", 63, "nearest is 64"),
    ("width", 1000, "nearest is 992"),
    ("height", 4096, "nearest is 2048"),
    ("height", -5, "nearest is 64"),
    ("width", 512.0, "nearest is 512"),
    ("width", True, ""),
    ("width", "512", ""),
    ("width", math.nan, ""),
    ("num_inference_steps", 0, "1 to 50"),
    ("num_inference_steps", 51, "1 to 50"),
    ("num_inference_steps", 2.5, "1 to 50"),
    ("seed", -1, f"0 to {MAX_SEED}"),
    ("seed", 2**53, f"0 to {MAX_SEED}"),
    ("seed", None, f"0 to {MAX_SEED}"),
    ("guidance", -0.1, "0 to 10"),
    ("guidance", 10.5, "0 to 10"),
    ("guidance", math.inf, "0 to 10"),
    ("guidance", math.nan, "0 to 10"),
    ("prompt_strength", 1.01, "0 to 1"),
    ("prompt_strength", -1, "0 to 1"),
    ("prompt", 7, "a text"),
    ("prompt", "a" * 20_001, "at most 20,000"),
    ("prompt", "a\ud800", "not valid Unicode"),
    ("mode", 5, "mode=5: use a name"),
    ("mode", None, "mode=None: use a name"),
    ("preview", "x", "preview='x': use True or False"),
    ("preview", 1, "use True or False"),
    ("references", None, "is of type NoneType: use a tuple of Pictures"),
    ("references", [blank(64, 64)], "is of type list: use a tuple of Pictures"),
    ("references", blank(64, 64), "is of type Picture: use a tuple of Pictures"),
    ("references", (blank(64, 64), b"x"), "reference 2 is of type bytes: use a Picture"),
    ("references", ("cat.png",), "read_picture makes one of a file"),
]


@pytest.mark.parametrize(("field", "value", "allowed"), WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    values: dict[str, Any] = {"prompt": "a red apple", field: value}
    with pytest.raises(InvalidRequest) as caught:
        ImageRequest(**values)
    assert caught.value.field == field
    assert allowed in f"{caught.value.message} {caught.value.hint}"


def test_more_than_four_megapixels_cannot_be_asked_for() -> None:
    assert MAX_PIXELS == 2048 * 2048
    assert ImageRequest(prompt="", width=2048, height=2048).width == 2048
    with pytest.raises(InvalidRequest):
        ImageRequest(prompt="", width=2064, height=1024)


@given(st.integers(-5000, 5000))
def test_a_side_is_right_or_the_nearest_right_one_is_named(side: int) -> None:
    allowed = range(64, 2049, 16)
    try:
        check_side("width", side)
    except InvalidRequest as error:
        assert side not in allowed
        nearest = int(error.hint.split()[-1])
        assert nearest in allowed
        assert abs(nearest - side) == min(abs(other - side) for other in allowed)
    else:
        assert side in allowed


def test_a_request_is_a_value() -> None:
    request = ImageRequest(prompt="a red apple", references=(blank(64, 64),))
    assert request == replace(request, seed=0)
    assert hash(request) == hash(replace(request))
    with pytest.raises(FrozenInstanceError):
        request.seed = 4  # type: ignore[misc]


def test_a_variant_is_checked_as_well() -> None:
    with pytest.raises(InvalidRequest):
        replace(ImageRequest(prompt=""), width=65)


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 63), (64, 513), (1040, 128)])
def test_a_reference_that_is_too_small_or_a_strip_is_named(width: int, height: int) -> None:
    with pytest.raises(InvalidPicture, match="reference 2 is") as caught:
        ImageRequest(prompt="", references=(blank(64, 512), blank(width, height)))
    assert caught.value.field == "references"


def test_ten_references_are_enough() -> None:
    assert ImageRequest(prompt="", references=(blank(64, 64),) * 10).references
    with pytest.raises(InvalidRequest, match="11 reference pictures"):
        ImageRequest(prompt="", references=(blank(64, 64),) * 11)


@pytest.mark.parametrize(
    ("width", "height", "count"), [(2, 2, 11), (2, 2, 13), (0, 1, 0), (-1, -1, 3)]
)
def test_a_picture_has_as_many_bytes_as_its_size_says(width: int, height: int, count: int) -> None:
    with pytest.raises(InvalidPicture):
        Picture(width, height, bytes(count))


def test_a_picture_is_shown_without_its_pixels() -> None:
    assert repr(blank(64, 32)) == "Picture(64 x 32)"


@given(st.integers(64, 5000), st.integers(64, 5000), st.sampled_from([1024 * 1024, 512 * 512]))
def test_a_matched_size_is_the_pictures_shape_and_can_be_drawn(
    width: int, height: int, pixels: int
) -> None:
    long, short = max(width, height), min(width, height)
    if long > 8 * short:
        return
    found = matched_size(width, height, pixels)
    request = ImageRequest(prompt="", width=found[0], height=found[1])
    assert request.width * request.height <= pixels
    exact = math.sqrt(pixels * width / height)
    if max(exact, pixels / exact) <= 2048:
        assert 0 <= exact - found[0] < 16.001
        assert 0 <= pixels / exact - found[1] < 16.001
