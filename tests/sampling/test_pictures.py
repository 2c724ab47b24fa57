"""Pixels to tensors and back, and how references are prepared."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from linocut.errors import InvalidPicture
from linocut.request import Picture
from linocut.sampling import pictures

NO_OTHER_LIMIT = 10**9


def plain(width: int, height: int) -> Picture:
    return Picture(width, height, bytes(3 * width * height))


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_picture_survives_the_way_to_a_tensor_and_back(
    width: int, height: int, data: st.DataObject
) -> None:
    size = 3 * width * height
    picture = Picture(width, height, data.draw(st.binary(min_size=size, max_size=size)))
    tensor = pictures.to_tensor(pictures.to_image(picture))
    assert tensor.shape == (1, 3, height, width)
    assert pictures.to_picture(tensor) == picture


def test_black_is_minus_one_and_white_is_one() -> None:
    tensor = pictures.to_tensor(Image.frombytes("RGB", (2, 1), bytes((0, 51, 255, 255, 0, 204))))
    assert tensor[0, :, 0, 0].tolist() == pytest.approx([-1, -0.6, 1])
    assert tensor[0, :, 0, 1].tolist() == pytest.approx([1, -1, 0.6])


def test_levels_are_rounded_to_the_nearest_and_cut_off_at_the_ends() -> None:
    levels = torch.tensor([-9.0, -1.0, (2 * 100.4 / 255) - 1, (2 * 100.6 / 255) - 1, 1.0, 9.0])
    picture = pictures.to_picture(levels.view(1, 1, 1, 6).expand(1, 3, 1, 6))
    assert list(picture.rgb[::3]) == [0, 0, 100, 101, 255, 255]


@pytest.mark.parametrize(
    ("size", "count", "prepared", "tokens"),
    [
        ((4000, 3000), 1, (2336, 1744), 15_914),
        ((4000, 3000), 2, (1168, 880), 4_015),
        ((3000, 4000), 1, (1744, 2336), 15_914),
        ((2024, 2024), 1, (2016, 2016), 15_876),
        ((1024, 1024), 3, (1024, 1024), 4_096),
        ((100, 77), 1, (96, 64), 24),
        ((64, 512), 10, (64, 512), 128),
    ],
)
def test_references_are_capped_as_the_published_arithmetic_says(
    size: tuple[int, int], count: int, prepared: tuple[int, int], tokens: int
) -> None:
    tensor = pictures.reference(plain(*size), count=count, multiple=16, most_pixels=NO_OTHER_LIMIT)
    height, width = tensor.shape[2:]
    assert (width, height) == prepared
    assert (width // 16) * (height // 16) == tokens


@given(st.integers(64, 1500), st.floats(0.125, 8), st.integers(1, 10), st.sampled_from((16, 32)))
@example(64, 8.0, 1, 16)
def test_a_prepared_reference_is_whole_tokens_within_the_limit(
    width: int, aspect: float, count: int, multiple: int
) -> None:
    height = min(max(64, round(width / aspect)), 1000)
    tensor = pictures.reference(
        plain(width, height), count=count, multiple=multiple, most_pixels=512 * 512
    )
    rows, columns = tensor.shape[2] / multiple, tensor.shape[3] / multiple
    assert rows == int(rows) >= 1
    assert columns == int(columns) >= 1
    assert tensor.shape[2] * tensor.shape[3] <= 512 * 512
    shrunk = min(1.0, math.sqrt(512 * 512 / (width * height)))
    assert tensor.shape[2] > height * shrunk - multiple - 1
    assert tensor.shape[3] > width * shrunk - multiple - 1


def test_a_reference_without_a_whole_token_is_refused_in_words() -> None:
    with pytest.raises(InvalidPicture, match="no whole token of 32 x 32") as caught:
        pictures.reference(plain(64, 512), count=1, multiple=32, most_pixels=64 * 64)
    assert caught.value.field == "references"
    assert caught.value.hint


def test_what_is_cropped_is_lost_evenly_on_both_sides(small: SimpleNamespace) -> None:
    picture = small.random_picture(70, 64, 1)
    tensor = pictures.reference(picture, count=1, multiple=16, most_pixels=NO_OTHER_LIMIT)
    whole = pictures.to_tensor(pictures.to_image(picture))
    assert torch.equal(tensor, whole[..., 3:67])


def test_a_picture_of_the_right_size_is_left_alone(small: SimpleNamespace) -> None:
    picture = small.random_picture(64, 48, 1)
    assert pictures.cover(picture, 64, 48) is picture


@given(st.tuples(*[st.integers(16, 400)] * 4))
def test_a_cover_has_exactly_the_size_asked_for(sizes: tuple[int, int, int, int]) -> None:
    width, height, to_width, to_height = sizes
    covered = pictures.cover(plain(width, height), to_width, to_height)
    assert (covered.width, covered.height) == (to_width, to_height)


def test_a_cover_keeps_the_middle_and_the_aspect() -> None:
    """A wide picture with a white middle: covering a square keeps the white, and nothing else."""
    image = Image.new("RGB", (300, 100), "black")
    image.paste("white", (100, 0, 200, 100))
    covered = pictures.cover(Picture(300, 100, image.tobytes()), 50, 50)
    inner = pictures.to_image(covered).crop((2, 2, 48, 48))
    assert all(darkest >= 250 for darkest, _ in inner.getextrema())


def test_a_cover_is_made_by_lanczos(small: SimpleNamespace) -> None:
    picture = small.random_picture(64, 64, 2)
    covered = pictures.cover(picture, 96, 80)
    larger = pictures.to_image(picture).resize((96, 96), Image.Resampling.LANCZOS)
    assert covered.rgb == larger.crop((0, 8, 96, 88)).tobytes()
