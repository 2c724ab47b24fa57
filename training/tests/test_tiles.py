"""Tiles: a fixed list of small things, encoded alone, of which whole pictures are put together."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from linocut.catalog import MINI
from linocut_training import autoencoder, tiles, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, HELD_PAIRS, STYLES
from linocut_training.tiles import Tile, Tiles

ALL = tuple(tiles.tiles())
GRIDS = (views.SQUARE, (8, 12), (11, 8))


@pytest.fixture
def work(tmp_path, cutouts, monkeypatch) -> Path:
    """A training folder with the cut-outs of two things, and three shapes of canvases."""
    for module in (tiles, views):
        monkeypatch.setattr(module, "CONCEPTS", CONCEPTS[:2])
    monkeypatch.setattr(views, "grids_of_ratios", lambda: GRIDS)
    cutouts(tmp_path)
    return tmp_path


@pytest.fixture
def encode(work, blurred, monkeypatch) -> Callable[..., None]:
    """Makes all tiles and empty canvases, as that many processes would."""

    def encode_all(processes: int = 1, *, stripe: float = 0) -> None:
        model = blurred(stripe)
        monkeypatch.setattr(autoencoder, "trained", lambda _: model)
        for rank in range(processes):
            tiles.encode_share(rank, processes, work)
        tiles.finish(work, model, processes)

    return encode_all


def tokens_of(pixels: np.ndarray) -> np.ndarray:
    """The mean colours that `blurred` tells, reckoned without it. [3, rows, columns]"""
    rows, columns = (length // views.PIXELS for length in pixels.shape[:2])
    means = pixels.reshape(rows, views.PIXELS, columns, views.PIXELS, 3).mean((1, 3))
    return means.transpose(2, 0, 1) / 127.5 - 1


def test_every_thing_has_a_tile_in_each_style_that_is_known_of_it() -> None:
    assert len(set(ALL)) == len(ALL)
    shown = {(tile.concept, views.STYLE_NAMES[tile.style]) for tile in ALL}
    assert shown == set(product(range(len(CONCEPTS)), set(STYLES) - {"pixel"})) - HELD_PAIRS
    of_each = Counter((tile.concept, tile.style) for tile in ALL)
    assert set(of_each.values()) == {4}


@pytest.mark.parametrize(("concept", "style"), [*sorted(HELD_PAIRS)[:3], (0, "pixel")])
def test_there_is_no_tile_of_what_is_held_out_nor_of_pixel_art(concept, style) -> None:
    number = views.STYLE_NAMES.index(style)
    assert not [tile for tile in ALL if (tile.concept, tile.style) == (concept, number)]


def test_a_thing_has_the_same_backgrounds_in_all_styles_and_white_among_them() -> None:
    colours: dict[tuple[int, int], list[int]] = {}
    for tile in ALL:
        colours.setdefault((tile.concept, tile.style), []).append(tile.colour)
    of_things = {concept: found for (concept, _), found in colours.items()}
    assert all(found == of_things[concept] for (concept, _), found in colours.items())
    assert all(views.WHITE in found and len(set(found)) == 4 for found in of_things.values())
    seen = Counter(colour for found in of_things.values() for colour in found)
    assert set(seen) == set(range(len(BACKGROUNDS)))
    coloured = [seen[colour] for colour in views.COLOURED]
    assert min(coloured) > 0.75 * sum(coloured) / len(coloured)


def test_the_order_is_the_one_that_tiles_on_disk_were_written_in() -> None:
    # A change here makes every tile that lies on someone's disk another one's.
    assert len(ALL) == 5700
    assert [(tile.concept, tile.style, tile.colour) for tile in ALL[:8]] == [
        (0, 0, 0), (0, 0, 9), (0, 0, 10), (0, 0, 12),
        (0, 1, 0), (0, 1, 9), (0, 1, 10), (0, 1, 12),
    ]  # fmt: skip
    assert (ALL[-1].concept, ALL[-1].style) == (289, 5)


def test_a_small_thing_stands_in_the_middle_of_its_tile_and_leaves_the_margin_empty(work) -> None:
    colour = views.COLOUR_NAMES.index("pink")
    pixels = tiles.picture(work, Tile(0, 2, colour))
    assert pixels.shape == (6 * 32, 6 * 32, 3)
    is_thing = (pixels != BACKGROUNDS["pink"]).any(-1)
    inside = np.zeros_like(is_thing)
    inside[32:-32, 32:-32] = True
    assert not is_thing[~inside].any()
    side = 0.62 * 6 * 32  # of the cut-out; the disc has its pixels 8 to 40 of 48
    for axis in (0, 1):
        there = np.flatnonzero(is_thing.any(axis))
        assert np.abs(there[[0, -1]] - (96 + side * np.array([8 - 24, 40 - 24]) / 48)).max() <= 3
    assert tuple(pixels[96, 96]) == (60 * 2, 0, 130)


def test_a_tile_is_what_its_picture_differs_by_from_an_empty_one(work, encode) -> None:
    encode()
    latents, expected = np.load(tiles.file_of(work)), list(tiles.tiles())
    assert latents.dtype == np.float16
    assert latents.shape == (len(expected), MINI.transformer.in_channels, 4, 4)
    for row, tile in zip(latents, expected, strict=True):
        picture = tiles.picture(work, tile)
        empty = np.broadcast_to(BACKGROUNDS[views.COLOUR_NAMES[tile.colour]], picture.shape)
        wanted = (tokens_of(picture) - tokens_of(empty))[:, 1:5, 1:5]
        assert np.abs(wanted).max() > 0.05
        np.testing.assert_allclose(row[:3], wanted, atol=2e-3)
        assert not row[3:].any()


def test_tiles_and_empty_canvases_have_no_stripe(work, encode) -> None:
    encode(stripe=2.0)
    assert np.abs(np.load(tiles.file_of(work))[:, 3:]).max() == 0
    for grid in GRIDS:
        assert not Tiles(work).plain[grid][:, 3].any()


def test_shares_of_two_processes_are_what_one_would_have_written(work, encode) -> None:
    assert not tiles.are_encoded(work)
    encode()
    files = {file: file.read_bytes() for file in (work / "latents").iterdir()}
    assert len(files) == 1 + len(GRIDS)
    for file in files:
        file.unlink()
    assert not tiles.are_encoded(work)
    encode(processes=2)
    assert tiles.are_encoded(work)
    assert {file: file.read_bytes() for file in (work / "latents").iterdir()} == files


def test_shares_stay_until_what_they_make_is_saved(work, encode, monkeypatch) -> None:
    def broken(file: Path, latents: np.ndarray) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(views, "save", broken)
        with pytest.raises(OSError, match="no space left"):
            encode()
    (share,) = (work / "latents").iterdir()
    assert len(np.load(share)) == len(list(tiles.tiles()))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_what_is_put_together_is_what_the_picture_encoded_whole_is(
    grid, name, work, encode
) -> None:
    encode()
    height, width = (length * views.PIXELS for length in grid)
    canvas = np.full((height, width, 3), 255, np.uint8)
    placed = []
    for turn, (down, right) in enumerate(ARRANGEMENTS[name].places):
        tile = Tile(turn % 2, 1, views.WHITE)
        placed.append((tile, (down, right)))
        top, left = ((grid[0] - 8) // 2 + down) * 32, ((grid[1] - 8) // 2 + right) * 32
        canvas[top : top + 128, left : left + 128] = tiles.picture(work, tile)[32:-32, 32:-32]
    together = Tiles(work).together(grid, placed)
    assert together.shape == (MINI.transformer.in_channels, *grid)
    np.testing.assert_allclose(together[:3], tokens_of(canvas), atol=2e-3)


def test_an_empty_canvas_stays_empty_whatever_was_put_together(work, encode) -> None:
    encode()
    of_work, tile = Tiles(work), Tile(0, 1, views.WHITE)
    put = partial(of_work.together, views.SQUARE)
    first = put([(tile, (2, 0)), (tile, (2, 4))])
    assert np.array_equal(put([(tile, (2, 0)), (tile, (2, 4))]), first)
    alone = put([(tile, (2, 0))])
    np.testing.assert_allclose(alone[:3, :, 4:], 1, atol=1e-6)


def test_things_are_told_by_style_and_background(work, encode) -> None:
    encode()
    concepts = Tiles(work).concepts
    for style, colour in product(range(len(STYLES)), range(len(BACKGROUNDS))):
        here = [
            tile.concept for tile in tiles.tiles() if (tile.style, tile.colour) == (style, colour)
        ]
        assert concepts.get((style, colour), []) == here


def test_tiles_of_another_list_are_refused(work, encode, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"tiles\.npy has not all tiles: encode the views first"):
        Tiles(work)
    encode()
    Tiles(work)
    monkeypatch.setattr(tiles, "COLOURS", 5)
    assert not tiles.are_encoded(work)
    with pytest.raises(ValueError, match="encode the views first"):
        Tiles(work)
