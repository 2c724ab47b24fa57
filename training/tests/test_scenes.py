"""Composed pictures: one object, where it was asked for, on a clean background."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from linocut.catalog import MINI
from linocut_training.concepts import BACKGROUNDS, STYLES
from linocut_training.effects import pixelated
from linocut_training.scenes import (
    Placement,
    any_placement,
    background,
    compose,
    gradient,
    placed_as,
)

RED = (220, 30, 30)
BLUE = (52, 104, 206)


def disc(side: int = 64) -> Image.Image:
    """A red disc; what cannot be seen of it is bright green, to show in edges if it bleeds."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    inside = rows**2 + columns**2 < (side * 0.45) ** 2
    rgba = np.empty((side, side, 4), dtype=np.uint8)
    rgba[:] = (0, 255, 0, 0)
    rgba[inside] = (*RED, 255)
    return Image.fromarray(rgba)


@given(
    width=st.integers(16, 90),
    height=st.integers(16, 90),
    scale=st.floats(0.1, 1),
    dx=st.floats(-1, 1),
    dy=st.floats(-1, 1),
)
def test_any_canvas_is_filled_exactly(width, height, scale, dx, dy) -> None:
    picture = compose(disc(), BLUE, width=width, height=height, scale=scale, dx=dx, dy=dy)
    assert picture.shape == (height, width, 3)
    assert picture.dtype == np.uint8


def test_the_object_is_in_the_middle_and_the_rest_is_background() -> None:
    picture = compose(disc(), BLUE, width=96, height=64, scale=0.5, dx=0, dy=0)
    assert tuple(picture[32, 48]) == RED
    assert tuple(picture[0, 0]) == BLUE
    columns = np.flatnonzero((picture != BLUE).any(axis=(0, 2)))
    assert columns[0] + columns[-1] == 95


def test_offsets_reach_the_edges() -> None:
    left = compose(disc(), BLUE, width=96, height=64, scale=0.5, dx=-1, dy=0)
    right = compose(disc(), BLUE, width=96, height=64, scale=0.5, dx=1, dy=0)
    assert tuple(left[32, 16]) == RED
    assert tuple(right[32, 80]) == RED


def test_invisible_colour_does_not_bleed_into_the_edges() -> None:
    picture = compose(disc(256), RED, width=64, height=64, scale=0.9, dx=0, dy=0)
    assert np.abs(picture.astype(int) - RED).max() <= 3


def test_a_premultiplied_cutout_gives_the_same_picture() -> None:
    plain, ready = (
        compose(cutout, BLUE, width=48, height=48, scale=0.8, dx=0, dy=0)
        for cutout in (disc(), disc().convert("RGBa"))
    )
    assert np.array_equal(plain, ready)


def test_pixel_art_stands_in_the_middle_and_all_else_where_it_is_put() -> None:
    put = Placement(0.8, 0.3, -0.2)
    assert [placed_as(style, put) for style in STYLES if style != "pixel"] == [put] * 5
    assert placed_as("pixel", put) == Placement(14 / 16, 0, 0)


def test_every_cell_of_pixel_art_is_of_one_colour_and_has_one_place_on_the_latents_grid() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    blotches = Image.fromarray(rgb).resize((320, 320), Image.Resampling.NEAREST)
    blotches.putalpha(disc(320).getchannel("A"))
    placed = placed_as("pixel", Placement(0.8, 0.3, -0.2))
    picture = compose(
        pixelated(blotches), BLUE, width=256, height=256,
        scale=placed.scale, dx=placed.dx, dy=placed.dy,
    )  # fmt: skip
    cell = MINI.autoencoder.pixels_per_token // 2
    cells = picture.reshape(256 // cell, cell, 256 // cell, cell, 3).swapaxes(1, 2)
    assert (cells == cells[:, :, :1, :1]).all()
    is_thing = (cells[:, :, 0, 0] != BLUE).any(-1)
    assert [np.flatnonzero(is_thing.any(axis))[[0, -1]].tolist() for axis in (0, 1)] == [
        [1, 14]
    ] * 2
    assert len(np.unique(cells[is_thing][:, 0, 0], axis=0)) > 10


def test_a_gradient_begins_and_ends_with_its_colours() -> None:
    picture = gradient(RED, BLUE, width=32, height=16, angle=0.25)
    assert tuple(picture[0, 5]) == RED
    assert tuple(picture[-1, 5]) == BLUE


def test_a_background_s_name_says_what_it_is() -> None:
    assert background("light blue", width=4, height=4) == BACKGROUNDS["light blue"]
    graded = background("light blue to red gradient", width=4, height=9)
    assert graded.shape == (9, 4, 3)
    assert tuple(graded[0, 0]) == tuple(graded[0, -1]) == BACKGROUNDS["light blue"]
    assert tuple(graded[-1, 0]) == BACKGROUNDS["red"]


def test_a_background_is_not_drawn_upon() -> None:
    canvas = gradient(RED, BLUE, width=32, height=32, angle=0.2)
    before = canvas.copy()
    compose(disc(), canvas, width=32, height=32, scale=0.9, dx=0, dy=0)
    assert np.array_equal(canvas, before)


def test_a_background_of_another_size_is_refused() -> None:
    canvas = gradient(RED, BLUE, width=32, height=16, angle=0)
    with pytest.raises(ValueError, match="background"):
        compose(disc(), canvas, width=16, height=32, scale=0.9, dx=0, dy=0)


@given(st.integers(0, 2**32))
def test_placements_are_tasteful_and_repeatable(seed) -> None:
    placement = any_placement(Random(seed))
    assert placement == any_placement(Random(seed))
    assert 0.72 <= placement.scale <= 0.95
    assert max(abs(placement.dx), abs(placement.dy)) <= 0.5
