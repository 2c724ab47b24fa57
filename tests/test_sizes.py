"""How large a picture is asked for, and how large it is drawn: arithmetic, for every size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.catalog import DEV, MINI, AutoencoderConfig, ModelConfig
from linocut.errors import InvalidRequest
from linocut.images import decode
from linocut.request import MAX_PIXELS, MOST_DECODED, MOST_SENT, ImageRequest
from linocut.sizes import (
    ASPECT_RATIOS,
    DIVISORS,
    drawn_size,
    reference_size,
    size_of,
    start_index,
)
from linocut.workers import frames

SIDES = st.integers(4, 128).map(lambda n: 16 * n)


@pytest.mark.parametrize("megapixels", DIVISORS)
@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_every_size_of_the_table_can_be_asked_for(ratio: str, megapixels: str) -> None:
    width, height = size_of(ratio, megapixels)
    assert ImageRequest(prompt="", width=width, height=height)
    across, down = map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.05)
    assert width * height / 1024**2 == pytest.approx(float(megapixels), rel=0.08)


@pytest.mark.parametrize(
    ("ratio", "turned"), [(r, ":".join(r.split(":")[::-1])) for r in ASPECT_RATIOS]
)
def test_a_turned_ratio_gives_the_turned_size(ratio: str, turned: str) -> None:
    assert ASPECT_RATIOS[turned] == ASPECT_RATIOS[ratio][::-1]


def test_what_is_not_in_the_table_is_told_what_is() -> None:
    with pytest.raises(InvalidRequest, match="1:1, 16:9") as caught:
        size_of("7:5", "1")
    assert caught.value.field == "aspect_ratio"
    with pytest.raises(InvalidRequest, match=r"1, 0\.25") as caught:
        size_of("1:1", "2")
    assert caught.value.field == "megapixels"


def of_levels(levels: int, **limits: int) -> ModelConfig:
    """A checkpoint whose tokens have 2 to the power of `levels` pixels a side."""
    return ModelConfig(autoencoder=AutoencoderConfig(channels=(32,) * levels), **limits)


@given(SIDES, SIDES)
def test_dev_draws_what_is_asked_for(width: int, height: int) -> None:
    assert DEV.drawn_size(width, height) == (width, height)


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((512, 512), (512, 512)),
        ((528, 528), (544, 544)),
        ((64, 2032), (64, 2048)),
        ((2048, 80), (2048, 96)),
        ((2048, 2048), (2048, 2048)),
    ],
)
def test_what_a_checkpoint_of_larger_tokens_draws_that_states_no_limits(
    asked: tuple[int, int], drawn: tuple[int, int]
) -> None:
    assert of_levels(5).drawn_size(*asked) == drawn


@given(SIDES, SIDES, st.integers(1, 11))
def test_without_limits_the_fewest_tokens_that_cover_a_request_are_drawn(
    width: int, height: int, levels: int
) -> None:
    config = of_levels(levels)
    p, drawn = config.autoencoder.pixels_per_token, config.drawn_size(width, height)
    for side, asked in zip(drawn, (width, height), strict=True):
        assert side % p == 0
        assert asked <= side < asked + p
    assert drawn[0] * drawn[1] <= config.most_pixels == MAX_PIXELS


@given(SIDES, SIDES)
def test_no_limit_has_more_drawn_than_can_be_asked_for(width: int, height: int) -> None:
    drawn = of_levels(5, native_max_tokens=2**24).drawn_size(width, height)
    assert drawn[0] * drawn[1] <= MAX_PIXELS
    drawn = of_levels(5, native_short_side=16).drawn_size(width, height)
    assert drawn[0] * drawn[1] <= MAX_PIXELS
    assert min(drawn) <= 16 * 32


@given(SIDES, SIDES, st.sampled_from((16, 32)), st.sampled_from((16, 64, 100, 256)))
def test_a_drawn_size_lies_on_the_grid_and_within_the_tokens(
    width: int, height: int, side: int, most: int
) -> None:
    drawn = drawn_size(width, height, pixels_per_token=side, native_max_tokens=most)
    assert drawn[0] % side == drawn[1] % side == 0
    assert 1 <= drawn[0] // side * (drawn[1] // side) <= most


@given(SIDES, SIDES, st.sampled_from((16, 64, 256)), st.sampled_from((2, 8, 11)))
def test_the_shorter_side_keeps_within_its_own_limit(
    width: int, height: int, most: int, short: int
) -> None:
    drawn = drawn_size(
        width, height, pixels_per_token=32, native_max_tokens=most, native_short_side=short
    )
    rows, columns = drawn[1] // 32, drawn[0] // 32
    assert drawn[0] % 32 == drawn[1] % 32 == 0
    assert rows * columns <= most
    assert 1 <= min(rows, columns) <= short


@given(SIDES, SIDES, st.sampled_from((None, 8)))
def test_turning_the_request_turns_what_is_drawn(
    width: int, height: int, short: int | None
) -> None:
    limits = {"pixels_per_token": 32, "native_max_tokens": 256, "native_short_side": short}
    across = drawn_size(width, height, **limits)
    down = drawn_size(height, width, **limits)
    assert across == down[::-1]


@pytest.mark.parametrize(
    ("asked", "drawn"),
    [
        ((256, 256), (256, 256)),
        ((512, 512), (256, 256)),
        ((1024, 1024), (256, 256)),
        ((128, 128), (128, 128)),
        ((2048, 1024), (512, 256)),
        ((1344, 768), (448, 256)),
        ((896, 1088), (256, 320)),
        ((1536, 640), (608, 256)),
        ((1024, 256), (1024, 256)),
        ((2048, 64), (2048, 64)),
        ((2048, 256), (1280, 160)),
    ],
)
def test_what_the_mini_draws(asked: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert MINI.drawn_size(*asked) == drawn


def test_without_a_limit_of_its_own_a_side_is_as_long_as_the_tokens_let_it() -> None:
    assert drawn_size(1024, 1024, pixels_per_token=32, native_max_tokens=256) == (512, 512)
    assert drawn_size(2048, 1024, pixels_per_token=32, native_max_tokens=64) == (320, 160)


@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_the_mini_crops_little_off_the_sizes_of_the_table(ratio: str) -> None:
    width, height = ASPECT_RATIOS[ratio]
    across, down = MINI.drawn_size(width, height)
    kept = min(across * height / (down * width), down * width / (across * height))
    assert kept >= 0.96
    assert min(across, down) == 256


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from((256, 100)))
def test_a_large_reference_gets_the_shorter_side_to_the_pixel(
    width: int, height: int, short: int
) -> None:
    found = reference_size((width, height), count=1, most_pixels=10**9, short_side=short)
    if min(width, height) <= short:
        assert found == (width, height)
    else:
        assert min(found) == short
        longer = max(width, height) * short / min(width, height)
        assert longer - 1 < max(found) <= longer


def test_a_long_reference_keeps_within_the_pixels_too() -> None:
    size = reference_size((4000, 400), count=1, most_pixels=512 * 512, short_side=256)
    assert size == (1619, 161)


@pytest.mark.parametrize(
    ("steps", "strength", "left_out"),
    [
        (28, 0.8, 5),  # binary: 28 · (1 - 0.8) = 5.6000000000000005 - no trap, but the promise
        (10, 0.9, 1),  # binary: 10 · (1 - 0.9) = 0.9999999999999998, which would leave out none
        (10, 0.7, 3),  # binary: 3.0000000000000004
        (50, 0.86, 7),  # binary: 7.000000000000001
        (50, 0.94, 3),  # binary: 3.0000000000000027
        (30, 0.9, 3),  # binary: 2.9999999999999996
        (28, 1.0, 0),
        (28, 0.0, 28),
        (1, 0.5, 0),
        (4, 0.26, 2),
        (4, 1e-9, 3),
        (4, 1 - 1e-12, 0),
    ],
)
def test_strength_leaves_out_steps_by_decimal_arithmetic(
    steps: int, strength: float, left_out: int
) -> None:
    assert start_index(steps, strength) == left_out


@given(st.integers(1, 50), st.integers(0, 1000))
def test_strength_in_thousandths_is_counted_exactly(steps: int, thousandths: int) -> None:
    expected = steps * (1000 - thousandths) // 1000
    assert start_index(steps, thousandths / 1000) == expected


def test_a_whole_number_is_a_strength_too() -> None:
    assert start_index(28, 1) == 0
    assert start_index(28, 0) == 28


def test_whatever_is_sent_can_be_decoded_again_and_handed_to_a_worker() -> None:
    pixels, side = decode.MAX_PIXELS, 65_535
    noise = 3 * pixels + side  # a PNG's rows begin with a byte each
    column = 4 * pixels  # one pixel wide
    told = 1.0006  # what deflate adds to what it cannot make smaller, and the chunks around it
    assert MOST_SENT < told * noise < told * column < MOST_DECODED < frames.MAX_BLOB
