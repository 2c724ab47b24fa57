"""What edits are learned from: pictures, what they are made from, and words for the change."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from random import Random

from linocut_training import arrangements, captions, scenes, views
from linocut_training.compositions import Composer, Composition
from linocut_training.concepts import CONCEPTS, HELD_PAIRS

Shown = views.View | Composition

# Of the edits of one picture; those of style are the hardest to learn. Up to the twelfth edition
# 0.22, 0.58 and 0.2, and 0.12 to several or smaller.
EDIT_SHARES: dict[captions.EditKind, float] = {"background": 0.12, "style": 0.78, "object": 0.1}
NUMBER_SHARE = 0.06  # of those: to several of the thing, or to a smaller one


@dataclass(frozen=True, slots=True)
class Edit:
    """A wanted picture, its references, and the words that ask for the change.

    kind: one of `captions.EditKind`, or "number", or "together", which has two references.
    """

    kind: str
    wanted: Shown
    given: tuple[views.View, ...]
    words: str


class Edits:
    """Any edits of the views on a grid."""

    def __init__(self, grid: views.Grid, shown: list[views.View], composer: Composer) -> None:
        """shown: the views that may be seen there; composer: of the pictures of several things."""
        self.grid, self.shown, self.composer = grid, shown, composer
        alike = defaultdict(list)
        for view in shown:
            if view.placement < views.ASKED_PLACEMENTS:
                alike[view.style, view.colour].append(view)
        self.alike = dict(alike)

    def any(self, rng: Random) -> Edit:
        """One of a picture that is given, of any kind by its share."""
        if rng.random() < NUMBER_SHARE:
            view = rng.choice(self.shown)
            several = self.composer.of(view, self._colours(view), rng)
            if several is not None:
                asked = arrangements.instruction(several.arrangement, CONCEPTS[view.concept], rng)
                given = replace(view, colour=several.colour)
                return Edit("number", several, (given,), asked)
        kind = rng.choices(tuple(EDIT_SHARES), tuple(EDIT_SHARES.values()))[0]
        return self._of_one(kind, rng)

    def _of_one(self, kind: captions.EditKind, rng: Random) -> Edit:
        any_view = rng.choice(self.shown)
        there, instead = self._colours(any_view), None
        if kind == "background":
            wanted = replace(any_view, colour=_any_colour(rng, there))
            given = replace(wanted, colour=_any_colour(rng, there - {wanted.colour}))
        elif kind == "style":
            other = _another_style(any_view, rng)
            if not scenes.is_placed(views.STYLE_NAMES[other]):
                any_view = replace(any_view, placement=0)  # nothing shows where else it could be
            in_both = self._colours(any_view) & self._colours(replace(any_view, style=other))
            wanted = replace(any_view, colour=_any_colour(rng, in_both))
            given = replace(wanted, style=other)
        else:
            given = any_view
            wanted = rng.choice(self.alike.get((given.style, given.colour), [given]))
            instead = CONCEPTS[wanted.concept]
        style, colour = views.STYLE_NAMES[wanted.style], views.BACKGROUND_NAMES[wanted.colour]
        shown = CONCEPTS[given.concept]
        asked = captions.instruction(kind, shown, style, colour, rng, instead=instead)
        return Edit(kind, wanted, (given,), asked)

    def together(self, rng: Random) -> Edit:
        """The things of two pictures in one, on the background of the first; on the square."""
        name = arrangements.any_arrangement(rng, arrangements.OF_TWO)
        wanted = self.composer.any(rng, name)
        first, second = (
            views.View(concept, wanted.style, rng.randrange(views.PLACEMENTS), wanted.colour)
            for concept in wanted.concepts
        )
        if wanted.colour not in self._colours(first):
            wanted = replace(wanted, colour=views.WHITE)
            first = replace(first, colour=views.WHITE)
        second = replace(second, colour=_any_colour(rng, self._colours(second)))
        things = [CONCEPTS[concept] for concept in wanted.concepts]
        return Edit("together", wanted, (first, second), arrangements.joining(name, things, rng))

    def _colours(self, view: views.View) -> set[int]:
        return set(views.colours_on(self.grid, view.concept, view.style, view.placement))


def is_shown(view: views.View) -> bool:
    """Whether it may be seen: it tells what is held out otherwise."""
    return (view.concept, views.STYLE_NAMES[view.style]) not in HELD_PAIRS


def _another_style(view: views.View, rng: Random) -> int:
    others = (replace(view, style=other) for other in range(len(views.STYLE_NAMES)))
    return rng.choice([it.style for it in others if it.style != view.style and is_shown(it)])


def _any_colour(rng: Random, among: set[int]) -> int:
    return views.any_of(sorted(among & {views.WHITE}), sorted(among - {views.WHITE}), rng)
