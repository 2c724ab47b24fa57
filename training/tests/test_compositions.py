"""A composition can be put together of the tiles that there are, and is what is said of it."""

from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut_training import arrangements, compositions, tiles, views
from linocut_training.arrangements import ARRANGEMENTS, COUNTED
from linocut_training.captions import COLOUR_WORDS
from linocut_training.compositions import Composer, Composition
from linocut_training.concepts import CONCEPTS, DEFAULT_STYLE, HELD_PAIRS, STYLES
from linocut_training.tiles import Tile

TILES = set(tiles.tiles())
DEFAULT = views.STYLE_NAMES.index(DEFAULT_STYLE)
UNCOUNTABLE = [
    number for number, it in enumerate(CONCEPTS) if not arrangements.is_countable(it.name)
]
seeds = st.integers(0, 2**32)
OTHER_WORDS = {"grayscale": ("grayscale", "black and white")}


@pytest.fixture(scope="module")
def composer(tmp_path_factory: pytest.TempPathFactory) -> Composer:
    """Composes of all tiles, each of which is as small as can be."""
    work: Path = tmp_path_factory.mktemp("work")
    tiles.file_of(work).parent.mkdir()
    np.save(tiles.file_of(work), np.zeros((len(TILES), 1, tiles.SIDE, tiles.SIDE), np.float16))
    for grid in views.grids_of_ratios():
        np.save(tiles._plain_file(work, grid), np.zeros((len(views.COLOUR_NAMES), 1, *grid)))
    return Composer(work)


def tiles_of(shown: Composition) -> set[Tile]:
    """What it is put together of."""
    return {Tile(concept, shown.style, shown.colour) for concept in shown.concepts}


@given(seed=seeds)
def test_of_any_composition_there_are_tiles_and_words(composer, seed) -> None:
    shown = composer.any(Random(seed))
    assert shown == composer.any(Random(seed))
    assert tiles_of(shown) <= TILES
    count = 1 if shown.arrangement in COUNTED else 2
    assert len(set(shown.concepts)) == len(shown.concepts) == count
    assert all(arrangements.can_stand_in(shown.arrangement, CONCEPTS[it]) for it in shown.concepts)


def test_compositions_have_their_shares_of_arrangements_styles_and_backgrounds(composer) -> None:
    rng, count = Random(0), 1200
    found = [composer.any(rng) for _ in range(count)]
    arranged = Counter(shown.arrangement for shown in found)
    for name, arrangement in ARRANGEMENTS.items():
        assert abs(arranged[name] / count - arrangement.share) < 0.05
    styles = Counter(shown.style for shown in found)
    assert abs(styles.pop(DEFAULT) / count - compositions.DEFAULT_STYLE_SHARE) < 0.05
    assert set(styles) == set(range(len(STYLES))) - {DEFAULT, views.STYLE_NAMES.index("pixel")}
    assert max(styles.values()) - min(styles.values()) < 0.06 * count
    colours = Counter(shown.colour for shown in found)
    assert abs(colours.pop(views.WHITE) / count - views.WHITE_SHARE) < 0.05
    assert set(colours) == set(views.COLOURED)
    assert max(colours.values()) < 2.5 * min(colours.values())
    concepts = {concept for shown in found for concept in shown.concepts}
    assert len(concepts) > 0.95 * len(CONCEPTS)
    assert set(UNCOUNTABLE) & concepts
    counted = {it.concepts[0] for it in found if ARRANGEMENTS[it.arrangement].is_counted}
    assert not set(UNCOUNTABLE) & counted


def test_either_of_two_things_may_be_said_first(composer) -> None:
    rng = Random(0)
    pairs = [shown.concepts for shown in (composer.any(rng) for _ in range(300))]
    rising = [first < second for first, second in (pair for pair in pairs if len(pair) == 2)]
    assert 0.4 < sum(rising) / len(rising) < 0.6


@given(
    concept=st.integers(0, len(CONCEPTS) - 1),
    style=st.integers(0, len(STYLES) - 1),
    placement=st.integers(0, views.PLACEMENTS - 1),
    seed=seeds,
)
def test_several_are_what_the_view_shows_on_a_background_that_both_have(
    composer, concept, style, placement, seed
) -> None:
    colours = set(views.colours_on(views.SQUARE, concept, style, placement))
    view = views.View(concept, style, placement, views.WHITE)
    several = composer.of(view, colours, Random(seed))
    if several is None:
        assert concept in UNCOUNTABLE or Tile(concept, style, views.WHITE) not in TILES
        return
    assert (several.concepts, several.style) == ((concept,), style)
    assert several.colour in colours
    assert tiles_of(several) <= TILES
    assert several.arrangement in COUNTED
    assert concept not in UNCOUNTABLE or several.arrangement == "small"


@pytest.mark.parametrize(
    ("concept", "style"),
    [(0, "pixel"), min((c, s) for c, s in HELD_PAIRS if s != "pixel")],
)
def test_of_what_has_no_tiles_there_are_not_several(composer, concept, style) -> None:
    view = views.View(concept, views.STYLE_NAMES.index(style), 0, views.WHITE)
    everything = set(range(len(views.BACKGROUND_NAMES)))
    assert {composer.of(view, everything, Random(seed)) for seed in range(20)} == {None}


def test_there_are_not_several_on_a_background_without_tiles(composer) -> None:
    view = views.View(0, 0, 0, views.WHITE)
    there = {tile.colour for tile in TILES if (tile.concept, tile.style) == (0, 0)}
    others = set(range(len(views.BACKGROUND_NAMES))) - there
    assert composer.of(view, others, Random(0)) is None
    found = {composer.of(view, there | others, Random(seed)) for seed in range(60)}
    assert {several.colour for several in found} == there
    assert {several.arrangement for several in found} == set(COUNTED)


@pytest.mark.parametrize("name", ARRANGEMENTS)
def test_things_stand_in_the_places_of_their_arrangement_on_every_canvas(
    name, training_folder, which
) -> None:
    composer, style = Composer(training_folder), 2
    concepts = (1,) if name in COUNTED else (1, 0)
    shown = Composition(name, concepts, style, views.WHITE)
    kinds = {"beside": (1, 0), "above": (1, 0), "two": (1, 1), "three": (1, 1, 1), "small": (1,)}
    for rows, columns in views.grids_of_ratios():
        down, right = (rows - 8) // 2, (columns - 8) // 2
        latents = torch.from_numpy(composer.latents((rows, columns), shown))
        assert latents.shape == (8, rows, columns)
        places = ((y + down, x + right) for y, x in ARRANGEMENTS[name].places)
        wanted = {
            place: Tile(concept, style, views.WHITE)
            for place, concept in zip(places, kinds[name], strict=True)
        }
        assert which(latents) == (views.WHITE, wanted)


@given(
    shown=st.integers(0, 500),
    style=st.sampled_from(sorted(STYLES)),
    background=st.sampled_from(views.BACKGROUND_NAMES),
    seed=seeds,
)
def test_words_name_every_thing_the_style_and_the_background(
    composer, shown, style, background, seed
) -> None:
    composition = composer.any(Random(shown))
    said = compositions.say(composition, style, background, Random(seed))
    assert said == compositions.say(composition, style, background, Random(seed))
    words, is_many = said.lower(), ARRANGEMENTS[composition.arrangement].is_counted
    for concept in (CONCEPTS[it] for it in composition.concepts):
        names = (concept.name, *concept.synonyms)
        if is_many:
            names = [arrangements.plural(it) for it in names if arrangements.is_countable(it)]
        assert any(name.lower() in words for name in names)
    of_style = OTHER_WORDS.get(style, (STYLES[style].word.lower(),))
    assert style == DEFAULT_STYLE or any(name in words for name in of_style)
    of_background = COLOUR_WORDS.get(background, (background,))
    assert background == "white" or any(name in words for name in of_background)
    assert "  " not in words
    assert not {"{", "}"} & set(words)
