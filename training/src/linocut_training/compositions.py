"""Latents and words of pictures in which things are arranged, of tiles alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from linocut_training import arrangements, captions, tiles, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.concepts import CONCEPTS, DEFAULT_STYLE
from linocut_training.tiles import Tile

# What no style is said of is drawn in the default one, and each style has to learn small things.
DEFAULT_STYLE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Composition:
    """One picture: an arrangement's name, the things in its places, their style and background.

    concepts: one for each name that is said, by index; a single one fills all places.
    """

    arrangement: str
    concepts: tuple[int, ...]
    style: int
    colour: int


class Composer:
    """Compositions of the tiles in a work folder."""

    def __init__(self, work: Path) -> None:
        self.tiles = tiles.Tiles(work)
        self.styles = sorted({style for style, _ in self.tiles.concepts})

    def any(self, rng: Random, name: str | None = None) -> Composition:
        """Any things in an arrangement that they can stand in; in any, where none is named."""
        name, style = name or arrangements.any_arrangement(rng), self._style(rng)
        able = {
            colour: usable
            for (of, colour), concepts in self.tiles.concepts.items()
            if of == style and len(usable := self._able(name, concepts)) > 1
        }
        is_white = rng.random() < views.WHITE_SHARE
        colours = [colour for colour in able if (colour == views.WHITE) == is_white]
        colour = rng.choice(colours or sorted(able))
        count = 1 if ARRANGEMENTS[name].is_of_one_kind else 2
        return Composition(name, tuple(rng.sample(able[colour], count)), style, colour)

    def _style(self, rng: Random) -> int:
        default = views.STYLE_NAMES.index(DEFAULT_STYLE)
        others = [style for style in self.styles if style != default]
        return default if rng.random() < DEFAULT_STYLE_SHARE else rng.choice(others)

    def _able(self, name: str, concepts: list[int]) -> list[int]:
        return [
            concept for concept in concepts if arrangements.can_stand_in(name, CONCEPTS[concept])
        ]

    def of(self, view: views.View, colours: set[int], rng: Random) -> Composition | None:
        """What a view shows at another number or size, on one of the backgrounds; or None."""
        name = rng.choice(arrangements.COUNTED)
        there = [
            colour
            for colour in sorted(colours)
            if Tile(view.concept, view.style, colour) in self.tiles.number
        ]
        if not there or not arrangements.can_stand_in(name, CONCEPTS[view.concept]):
            return None
        return Composition(name, (view.concept,), view.style, rng.choice(there))

    def latents(self, grid: views.Grid, shown: Composition) -> NDArray[np.float32]:
        """Its picture on a grid, around the middle. [C, H, W]"""
        places = ARRANGEMENTS[shown.arrangement].places
        concepts = shown.concepts * (len(places) // len(shown.concepts))
        return self.tiles.together(
            grid,
            [
                (Tile(concept, shown.style, shown.colour), place)
                for concept, place in zip(concepts, places, strict=True)
            ],
        )


def say(shown: Composition, style: str, background: str, rng: Random) -> str:
    """One way to ask for it in a style, and on a background."""
    things = [CONCEPTS[concept] for concept in shown.concepts]
    phrase = arrangements.phrase(shown.arrangement, things, rng)
    return captions.caption_of(phrase, style, background, rng)
