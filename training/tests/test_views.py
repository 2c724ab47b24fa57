"""The views: always the same ones in the same order, and latents that belong to them."""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from linocut.catalog import MINI
from linocut.sizes import ASPECT_RATIOS, DIVISORS, size_of
from linocut_training import captions, views
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, DRAWN, STYLES

SIDEWAYS = (8, 12)
RARE = (8, 13)
PIXEL = views.STYLE_NAMES.index("pixel")


class Blurred:
    """In the autoencoder's place: every token is the mean colour of its pixels."""

    def encode(self, pixels_BCHW: Tensor) -> Tensor:
        """Three channels that differ from view to view, and nothing in the others."""
        means = F.avg_pool2d(pixels_BCHW, views.PIXELS)
        return F.pad(means, (0, 0, 0, 0, 0, MINI.transformer.in_channels - 3))


@cache
def learned_on(grid: views.Grid) -> tuple[views.View, ...]:
    """Every view of a grid, for tests that leave the views as they are: it takes a while."""
    return tuple(views.views_on(grid))


@pytest.fixture
def work(tmp_path, cutouts, monkeypatch) -> Path:
    """A training folder with the cut-outs of two concepts, and grids enough to see the point."""
    monkeypatch.setattr(views, "CONCEPTS", CONCEPTS[:2])
    monkeypatch.setattr(views, "CONCEPTS_OF_RATIOS", 1.0)
    monkeypatch.setattr(views, "PLACEMENTS", 2)
    monkeypatch.setattr(views, "grids", lambda: (views.SQUARE, SIDEWAYS))
    cutouts(tmp_path)
    return tmp_path


@pytest.mark.parametrize("width", range(256, 1025, 16))
def test_every_size_up_to_1024_px_is_drawn_on_a_grid_that_is_learned(width) -> None:
    known = views.grids()
    for height in range(256, 1025, 16):
        columns, rows = (side // 32 for side in MINI.drawn_size(width, height))
        assert (rows, columns) in known


@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
@pytest.mark.parametrize("megapixels", DIVISORS)
def test_every_size_of_the_api_is_drawn_on_a_grid_that_is_learned(ratio, megapixels) -> None:
    width, height = MINI.drawn_size(*size_of(ratio, megapixels))
    assert (height // 32, width // 32) in views.grids_of_ratios()


def test_the_square_grid_comes_first_and_no_grid_twice() -> None:
    found = views.grids()
    assert found[0] == views.SQUARE == (8, 8)
    assert len(set(found)) == len(found)
    assert max(rows * columns for rows, columns in found) <= MINI.native_max_tokens
    assert {min(grid) for grid in found} == {8, 6}
    assert found[: len(views.grids_of_ratios())] == views.grids_of_ratios()


@pytest.mark.parametrize("grid", [views.SQUARE, SIDEWAYS, RARE])
def test_views_come_in_the_same_sorted_order_every_time(grid) -> None:
    found = list(views.views_on(grid))
    assert found == list(views.views_on(grid))
    assert len(set(found)) == len(found)
    keys = [(view.concept, view.style, view.placement, view.colour) for view in found]
    assert keys == sorted(keys)
    styles = Counter(concept for concept, _ in {key[:2] for key in keys})
    assert set(styles.values()) == {views.STYLES_ELSEWHERE if grid == RARE else len(STYLES)}
    assert {style for _, style, *_ in keys} == set(range(len(DRAWN if grid == RARE else STYLES)))
    assert (set(styles) == set(range(len(CONCEPTS)))) == (grid == views.SQUARE)


def test_the_order_is_the_one_that_latents_on_disk_were_written_in() -> None:
    # A change here makes every latent that lies on someone's disk another view's.
    grids = (views.SQUARE, SIDEWAYS, RARE)
    square, sideways, rare = (learned_on(grid) for grid in grids)
    assert len(square) == len(CONCEPTS) * 6 * 3 * (5 + 1)
    assert len(sideways) == 75 * 6 * 2
    assert len(rare) == 47 * 2
    assert [(view.placement, view.colour) for view in square[:18]] == [
        (0, 0), (0, 2), (0, 9), (0, 11), (0, 12), (0, 106),
        (1, 0), (1, 2), (1, 9), (1, 10), (1, 12), (1, 154),
        (2, 0), (2, 6), (2, 7), (2, 9), (2, 12), (2, 80),
    ]  # fmt: skip
    assert views.BACKGROUND_NAMES[106] == "light blue to red gradient"
    assert {view.concept for view in sideways[:8]} == {4}
    assert [view.colour for view in sideways[:8]] == [0, 11, 0, 11, 0, 6, 0, 11]
    assert [(view.concept, view.style, view.colour) for view in rare[:4]] == [
        (1, 2, 0), (1, 3, 9), (8, 0, 7), (8, 2, 7)
    ]  # fmt: skip


def test_a_concept_has_about_a_hundred_and_fifty_views() -> None:
    seen = Counter(view.concept for grid in views.grids() for view in learned_on(grid))
    assert len(seen) == len(CONCEPTS)
    assert seen.total() == 42_294
    assert (min(seen.values()), max(seen.values())) == (110, 188)


def test_a_square_view_has_partners_that_differ_in_one_thing() -> None:
    colours: dict[tuple[int, int], dict[int, set[int]]] = {}
    for view in learned_on(views.SQUARE):
        of_styles = colours.setdefault((view.concept, view.placement), {})
        of_styles.setdefault(view.style, set()).add(view.colour)
    assert len(colours) == len(CONCEPTS) * views.PLACEMENTS
    for of_styles in colours.values():
        assert set(of_styles) == set(range(len(STYLES)))
        assert all(found == of_styles[0] for found in of_styles.values())
    found = Counter(colour for of_styles in colours.values() for colour in of_styles[0])
    assert found[views.WHITE] == len(colours)
    coloured = {colour: found[colour] for colour in views.COLOURED}
    assert sum(coloured.values()) == 4 * len(colours)
    assert min(coloured.values()) > 0.75 * 4 * len(colours) / len(views.COLOURED)
    assert found.total() == (1 + 4 + 1) * len(colours)
    assert len(found) > 0.95 * len(views.BACKGROUND_NAMES)  # nearly every gradient is somewhere


def test_every_placement_of_a_square_has_a_gradient() -> None:
    graded = Counter(
        (view.concept, view.style, view.placement)
        for view in learned_on(views.SQUARE)
        if view.colour >= len(BACKGROUNDS)
    )
    assert set(graded.values()) == {1}
    assert len(graded) == len(CONCEPTS) * len(STYLES) * views.PLACEMENTS
    ends = [captions.ends(name) for name in views.BACKGROUND_NAMES]
    assert ends[: len(BACKGROUNDS)] == [(name, name) for name in BACKGROUNDS]
    assert set(ends[len(BACKGROUNDS) :]) == set(permutations(BACKGROUNDS, 2))


@pytest.mark.parametrize("grid", views.grids()[1:])
def test_a_view_on_another_grid_has_its_partner_on_the_square(grid) -> None:
    found = set(learned_on(grid))
    assert found <= set(learned_on(views.SQUARE))
    assert {view.placement for view in found} == {0}


@pytest.mark.parametrize("of_ratios", [True, False])
def test_other_grids_have_their_share_of_the_concepts_and_not_the_same_ones(of_ratios) -> None:
    share = views.CONCEPTS_OF_RATIOS if of_ratios else views.CONCEPTS_ELSEWHERE
    assert share == (0.3 if of_ratios else 0.12)
    there = [
        {view.concept for view in learned_on(grid)}
        for grid in views.grids()[1:]
        if (grid in views.grids_of_ratios()) == of_ratios
    ]
    count = len(CONCEPTS)
    spread = (share * (1 - share) / count) ** 0.5
    assert all(abs(len(some) / count - share) < 3.5 * spread for some in there)
    assert abs(sum(map(len, there)) / len(there) / count - share) < 0.02
    seldom = (1 - share) ** len(there)
    assert len(set.union(*there)) > (1 - 2 * seldom) * count


def test_rare_grids_are_white_as_often_as_is_asked_for() -> None:
    rare = views.grids()[len(views.grids_of_ratios()) :]
    colours = Counter(view.colour for grid in rare for view in learned_on(grid))
    assert set(colours) == set(range(14))
    assert abs(colours[views.WHITE] / colours.total() - views.WHITE_SHARE) < 0.03


def test_other_grids_have_white_and_all_other_colours_somewhere() -> None:
    colours: dict[tuple[int, int], list[int]] = {}
    for view in learned_on(SIDEWAYS):
        colours.setdefault((view.concept, view.style), []).append(view.colour)
    for found in colours.values():
        assert found[0] == views.WHITE
        assert len(found) == len(set(found)) == 2
    assert {colour for found in colours.values() for colour in found} == set(range(14))


def test_another_background_leaves_the_object_alone(work) -> None:
    plain = views.picture(work, views.View(0, 2, 1, views.WHITE), views.SQUARE)
    assert plain.shape == (256, 256, 3)
    for colour in views.COLOURED:
        changed = views.picture(work, views.View(0, 2, 1, colour), views.SQUARE)
        behind = (changed == BACKGROUNDS[views.COLOUR_NAMES[colour]]).all(-1)
        assert (plain[behind] == 255).all(-1).mean() > 0.999  # an edge may be of that colour
        same = (changed == plain).all(-1)
        assert 0.15 < same.mean() < 0.6
        assert (behind | same).mean() > 0.95  # the rest is the object's soft edge


def test_a_gradient_runs_from_the_top_to_the_bottom_behind_the_object(work) -> None:
    colour = views.BACKGROUND_NAMES.index("yellow to blue gradient")
    graded = views.picture(work, views.View(0, 2, 1, colour), views.SQUARE)
    plain = views.picture(work, views.View(0, 2, 1, views.WHITE), views.SQUARE)
    assert (graded[0] == BACKGROUNDS["yellow"]).all()
    assert (graded[-1] == BACKGROUNDS["blue"]).all()
    assert (graded[:, 0] == graded[:, -1]).all()
    same = (graded == plain).all(-1)
    assert 0.15 < same.mean() < 0.6
    behind = (graded == graded[:, :1]).all(-1)
    assert (behind | same).mean() > 0.95


def test_another_style_stands_where_the_first_stood(work) -> None:
    shapes = [
        (views.picture(work, views.View(0, style, 1, views.WHITE), views.SQUARE) != 255).any(-1)
        for style in range(4)
    ]
    elsewhere = views.picture(work, views.View(0, 0, 0, views.WHITE), views.SQUARE)
    assert all(np.array_equal(shape, shapes[0]) for shape in shapes)
    assert not np.array_equal((elsewhere != 255).any(-1), shapes[0])


def test_pixel_art_stands_in_the_middle_wherever_the_others_stand(work) -> None:
    pixel, *others = (
        [views.picture(work, views.View(1, style, it, 0), views.SQUARE) for it in range(2)]
        for style in (PIXEL, 0, 5)
    )
    assert np.array_equal(*pixel)
    assert not any(np.array_equal(*pair) for pair in others)
    is_thing = (pixel[0] != 255).any(-1)
    for axis in (0, 1):  # its cut-out, of 14 cells, is a square of pixels 8 to 40, of 48
        first, last = np.flatnonzero(is_thing.any(axis))[[0, -1]]
        assert abs(first - (16 + 14 * 16 * 8 / 48)) <= 4
        assert abs(last - (16 + 14 * 16 * 41 / 48)) <= 4


@pytest.mark.parametrize(("grid", "top", "left"), [((8, 13), 0, 2), ((11, 8), 1, 0)])
def test_elsewhere_the_square_picture_stands_in_the_middle_on_whole_tokens(
    work, grid, top, left
) -> None:
    view = views.View(1, 2, 0, 5)
    square, wide = (views.picture(work, view, each) for each in (views.SQUARE, grid))
    middle = wide[top * 32 : top * 32 + 256, left * 32 : left * 32 + 256]
    assert np.array_equal(middle, square)
    beside = (wide != BACKGROUNDS[views.COLOUR_NAMES[5]]).any(-1).sum()
    assert beside == (square != BACKGROUNDS[views.COLOUR_NAMES[5]]).any(-1).sum()


def encode_all(work: Path) -> None:
    """All latents that are missing, by one process."""
    views.encode(0, 1, work, Blurred())
    views.join(work, 1)
    views.spread(work, Blurred())


def test_shares_of_two_processes_are_what_one_would_have_written(work) -> None:
    encode_all(work)
    alone = {grid: np.load(views.latents_file(work, grid)) for grid in views.grids()}
    for grid in views.grids():
        views.latents_file(work, grid).unlink()
    for rank in range(2):
        views.encode(rank, 2, work, Blurred())
    views.join(work, 2)
    views.spread(work, Blurred())
    for grid in views.grids():
        together = np.load(views.latents_file(work, grid))
        assert together.dtype == np.float16
        assert np.array_equal(together, alone[grid])
    files = {file.name for file in (work / "latents").iterdir()}
    assert files == {"8x8.npy", "8x12.npy"}


def test_shares_stay_until_what_they_make_is_saved(work, monkeypatch) -> None:
    def broken(file: Path, latents: np.ndarray) -> None:
        raise OSError("no space left")

    views.encode(0, 1, work, Blurred())
    shares = {file.name: file.read_bytes() for file in (work / "latents").iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(views, "save", broken)
        with pytest.raises(OSError, match="no space left"):
            views.join(work, 1)
    assert {file.name: file.read_bytes() for file in (work / "latents").iterdir()} == shares
    views.join(work, 1)
    assert not shares.keys() & {file.name for file in (work / "latents").iterdir()}


def test_the_latents_lie_in_the_order_of_the_views(work) -> None:
    encode_all(work)
    for grid in views.grids():
        latents = np.load(views.latents_file(work, grid))
        expected = list(views.views_on(grid))
        assert latents.shape == (len(expected), MINI.transformer.in_channels, *grid)
        for row, view in zip(latents, expected, strict=True):
            pixels = views.to_tensor(views.picture(work, view, grid))
            assert pixels.abs().max() <= 1
            means = F.avg_pool2d(pixels[None], views.PIXELS)[0]
            assert np.allclose(row[:3], means.numpy(), atol=2e-3)
        pictures = {
            view if view.style != PIXEL else replace(view, placement=0) for view in expected
        }
        assert len({row.tobytes() for row in latents}) == len(pictures)


def test_only_square_and_smaller_grids_are_encoded_and_the_others_made_of_the_square(
    work, monkeypatch
) -> None:
    # No row of a smaller grid is a square's: there a thing is drawn smaller.
    monkeypatch.setattr(views, "grids", lambda: (views.SQUARE, SIDEWAYS, views.SMALLER[0]))
    monkeypatch.setattr(views, "CONCEPTS_ELSEWHERE", 1.0)
    views.encode(0, 1, work, Blurred())
    views.join(work, 1)
    assert views.not_encoded(work) == [SIDEWAYS]
    encoded = []

    class Watched(Blurred):
        def encode(self, pixels: Tensor) -> Tensor:
            encoded.append(tuple(pixels.shape[-2:]))
            return super().encode(pixels)

    views.spread(work, Watched())
    assert views.not_encoded(work) == []
    colours = len(views.COLOUR_NAMES)
    assert Counter(encoded) == {(256, 256): colours, (256, 384): colours}


@pytest.mark.parametrize("is_in_pictures", [True, False])
def test_no_canvas_has_the_stripe_of_an_empty_one(work, is_in_pictures) -> None:
    class Striped(Blurred):
        def encode(self, pixels: Tensor) -> Tensor:
            latents, empty = super().encode(pixels), pixels.flatten(2).std(2).amax(1) == 0
            latents[empty | is_in_pictures, 5, :, 0] += 2
            return latents

    encode_all(work)
    expected = np.load(views.latents_file(work, SIDEWAYS))
    for grid in views.grids():
        views.latents_file(work, grid).unlink()
    views.encode(0, 1, work, Striped())
    views.join(work, 1)
    views.spread(work, Striped())
    assert np.array_equal(np.load(views.latents_file(work, SIDEWAYS)), expected)


def test_pixels_become_minus_one_to_one() -> None:
    pixels = np.array([[[0, 51, 255]]], dtype=np.uint8)
    assert torch.allclose(views.to_tensor(pixels)[:, 0, 0], torch.tensor([-1, -0.6, 1]))


def test_latents_of_fewer_views_are_not_taken_for_these(work, monkeypatch) -> None:
    assert views.not_encoded(work) == [views.SQUARE, SIDEWAYS]
    encode_all(work)
    assert views.not_encoded(work) == []
    monkeypatch.setattr(views, "COLOURS_OF_RATIOS", 3)
    assert views.not_encoded(work) == [SIDEWAYS]
    encode_all(work)
    assert views.not_encoded(work) == []
