"""What is made of a cut-out keeps its outline, and is what its style's name says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from linocut_training.concepts import STYLES
from linocut_training.effects import CELL, CELLS, EFFECTS, PALETTE, grayed, pixelated


@pytest.fixture
def cutout() -> Image.Image:
    """A disc that runs from red to blue, with a green ring, on nothing."""
    side = 400
    rgb = np.zeros((side, side, 3), dtype=np.uint8)
    rgb[..., 0] = np.linspace(255, 0, side)
    rgb[..., 2] = np.linspace(0, 255, side)[:, None]
    picture = Image.fromarray(rgb).convert("RGBA")
    alpha = Image.new("L", (side, side))
    ImageDraw.Draw(alpha).ellipse((40, 40, 360, 360), fill=255)
    ImageDraw.Draw(picture).ellipse((40, 40, 360, 360), outline=(0, 200, 0), width=20)
    picture.putalpha(alpha)
    return picture


def test_every_style_that_nobody_drew_has_its_effect() -> None:
    made = {style.source for style in STYLES.values() if style.made_from is not None}
    assert made == set(EFFECTS)


def test_pixel_art_is_square_cells_of_few_colours_without_soft_edges(cutout) -> None:
    pixels = np.asarray(pixelated(cutout))
    assert pixels.shape == (CELLS * CELL, CELLS * CELL, 4)
    cells = pixels.reshape(CELLS, CELL, CELLS, CELL, 4)
    assert (cells == cells[:, :1, :, :1]).all()
    assert set(np.unique(pixels[..., 3])) == {0, 255}
    shown = pixels[pixels[..., 3] == 255][:, :3]
    assert 8 < len(np.unique(shown, axis=0)) <= PALETTE


def test_pixel_art_covers_what_the_cutout_covers_and_fills_its_cells_with_it(cutout) -> None:
    pixels = pixelated(cutout)
    filled = cutout.crop((40, 40, 361, 361)).resize(pixels.size)
    before, after = (np.asarray(it)[..., 3] > 127 for it in (filled, pixels))
    assert (before & after).sum() > 0.93 * (before | after).sum()


@given(
    width=st.integers(28, 300),
    height=st.integers(28, 300),
    left=st.integers(0, 100),
    top=st.integers(0, 100),
)
def test_a_thing_of_any_shape_fills_its_cells_by_its_longer_side_and_is_in_the_middle(
    width, height, left, top
) -> None:
    cutout = Image.new("RGBA", (400, 400))
    cutout.paste((200, 30, 30, 255), (left, top, left + width, top + height))
    cells = np.asarray(pixelated(cutout))[::CELL, ::CELL]
    is_solid = cells[..., 3] == 255
    assert np.abs(cells[is_solid].astype(int) - (200, 30, 30, 255)).max() <= 2
    for axis, length in ((1, height), (0, width)):
        there = np.flatnonzero(is_solid.any(axis))
        wanted = CELLS * length / max(width, height)
        assert abs(len(there) - wanted) < 1.5
        assert length != max(width, height) or len(there) == CELLS
        assert abs(there[0] + there[-1] - (CELLS - 1)) <= 1


def test_a_cutout_without_anything_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="the cut-out is empty"):
        pixelated(Image.new("RGBA", (40, 40), (255, 0, 0, 0)))


def test_the_clear_pixels_of_a_cutout_do_not_bleed_into_its_cells() -> None:
    rgba = np.zeros((200, 200, 4), dtype=np.uint8)
    rgba[..., 1] = 255  # green that nobody sees
    rgba[44:156, 44:156] = (200, 0, 0, 255)
    pixels = np.asarray(pixelated(Image.fromarray(rgba)))
    assert (pixels[pixels[..., 3] == 255][:, :3] == (200, 0, 0)).all()


def test_gray_is_as_bright_as_it_was_and_has_no_colour(cutout) -> None:
    before, after = np.asarray(cutout).astype(float), np.asarray(grayed(cutout)).astype(float)
    assert np.array_equal(after[..., 3], before[..., 3])
    assert (np.ptp(after[..., :3], axis=-1) == 0).all()
    bright = before[..., :3] @ (0.299, 0.587, 0.114)  # ITU-R BT.601
    assert np.abs(after[..., 0] - bright).max() <= 1
