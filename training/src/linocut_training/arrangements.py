"""Pictures of two things, of several alike, or of one at another size: where they stand, in words.

An arrangement has a place for each of its things, and things of different names in it are told from
each other by what is said of the places: who is named first stands at the left, or above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

import inflect

from linocut_training import captions
from linocut_training.concepts import Concept
from linocut_training.tiles import SIDE, Place

Window = tuple[slice, ...]  # rows and columns of the square


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How many things there are, where their tiles stand, and what is said of them.

    In `patterns` {a} is the first thing with its article and {b} the second one, {n} the first
    without, and {ns} many of it. edits: instructions that ask for it of a picture of one thing.
    joins: those that ask for it of two pictures, in which {m} is the second thing without.
    share: how often it comes, beside the others.
    """

    places: tuple[Place, ...]
    patterns: tuple[str, ...]
    share: float
    edits: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()

    @property
    def is_of_one_kind(self) -> bool:
        """Whether all its things are of one name."""
        return not any("{b}" in pattern for pattern in self.patterns)

    @property
    def is_counted(self) -> bool:
        """Whether it tells a number, so that its thing has to have a plural."""
        return any("{ns}" in pattern for pattern in self.patterns)

    @property
    def window(self) -> Window:
        """The part of the square that its tiles stand in."""
        return tuple(
            slice(min(starts), max(starts) + SIDE) for starts in zip(*self.places, strict=True)
        )


_MIDDLE: Final[Place] = (2, 2)
_LEFT, _RIGHT, _TOP, _BOTTOM = (2, 0), (2, 4), (0, 2), (4, 2)

ARRANGEMENTS: Final[Mapping[str, Arrangement]] = {
    "beside": Arrangement(
        (_LEFT, _RIGHT),
        (
            *("{a} and {b}",) * 4,
            "{a} with {b}",
            "{a} next to {b}",
            "{a} beside {b}",
            "{a} left of {b}",
            "{a} to the left of {b}",
            "{b} right of {a}",
            "{b} to the right of {a}",
        ),
        share=0.35,
        joins=(
            "put both together", "put them side by side", "both of them", "image 1 and image 2",
            "image 1 next to image 2", "put image 1 next to image 2", "combine the two pictures",
            "combine image 1 and image 2", "image 1 left of image 2", "image 2 right of image 1",
            "put the two next to each other", "the {n} next to the {m}", "the {n} and the {m}",
            "the {n} from image 1 and the {m} from image 2",
        ),
    ),
    "above": Arrangement(
        (_TOP, _BOTTOM),
        ("{a} above {b}", "{a} over {b}", "{a} on top of {b}", "{b} below {a}", "{b} under {a}"),
        share=0.15,
        joins=(
            "image 1 above image 2", "put image 1 above image 2", "put image 1 on top of image 2",
            "image 2 below image 1", "put one above the other", "the {n} above the {m}",
            "the {n} from image 1 above the {m} from image 2",
        ),
    ),
    "two": Arrangement(
        (_LEFT, _RIGHT),
        ("two {ns}", "two {ns}", "2 {ns}", "a pair of {ns}"),
        share=0.15,
        edits=("two of them", "make it two", "two {ns}", "make it two {ns}", "add another one",
               "add another {n}", "draw two of them", "now two of them"),
    ),
    "three": Arrangement(
        (_TOP, (4, 0), (4, 4)),
        ("three {ns}", "three {ns}", "3 {ns}"),
        share=0.1,
        edits=("three of them", "make it three", "three {ns}", "make it three {ns}",
               "draw three of them", "now three of them"),
    ),
    "small": Arrangement(
        (_MIDDLE,),
        ("a small {n}", "a tiny {n}", "a little {n}", "small {n}"),
        share=0.25,
        edits=("make it smaller", "make it small", "make the {n} smaller", "a smaller {n}"),
    ),
}  # fmt: skip
COUNTED: Final = tuple(name for name, one in ARRANGEMENTS.items() if one.edits)
OF_TWO: Final = tuple(name for name, one in ARRANGEMENTS.items() if one.joins)
# What no plural can be made of by rule, because its noun is not where a plural's is.
_NEVER_MANY: Final = frozenset((
    "book lying open", "hand waving hello", "waving hello", "heart broken in two", "tongue out",
    "tongue out face", "laughing until crying face", "sun rising over water", "two fingers up",
    "sun setting over buildings", "half an avocado", "frying pan with an egg",
    "cocktail with an umbrella", "ananas",
))  # fmt: skip
_ENGLISH: Final = inflect.engine()
for _one, _many in (
    ("(.*)taco", "$1tacos"), ("(.*)burrito", "$1burritos"), ("four by four", "four by fours"),
    ("(.*)dice", "$1dice"), ("game die", "game dice"), ("thumbs? (up|down)", "thumbs $1"),
    ("face blowing a kiss", "faces blowing a kiss"),
    ("face sticking out its tongue", "faces sticking out their tongues"),
):  # fmt: skip
    _ENGLISH.defnoun(_one, _many)  # what inflect gets wrong of our words


def any_arrangement(rng: Random, among: Sequence[str] = tuple(ARRANGEMENTS)) -> str:
    """The name of one, by their shares."""
    return rng.choices(among, [ARRANGEMENTS[name].share for name in among])[0]


def can_stand_in(name: str, concept: Concept) -> bool:
    """Whether one can speak of this thing so: what has no plural cannot be counted."""
    return not ARRANGEMENTS[name].is_counted or is_countable(concept.name)


def is_countable(noun: str) -> bool:
    """Whether there can be two of it: it has an article, and is not two things itself."""
    has_one = captions.with_article(noun).split(" ")[0] in ("a", "an")
    return has_one and " and " not in noun and noun not in _NEVER_MANY


@cache
def plural(noun: str) -> str:
    """More than one of it."""
    return str(_ENGLISH.plural_noun(noun))


def phrase(name: str, things: Sequence[Concept], rng: Random) -> str:
    """What is in the picture, as in "a cat and a ball"; a thing for each name that is said."""
    return _filled(rng.choice(ARRANGEMENTS[name].patterns), things, rng)


def instruction(name: str, thing: Concept, rng: Random) -> str:
    """One way to ask for this arrangement of what a picture shows."""
    words = _filled(rng.choice(ARRANGEMENTS[name].edits), (thing,), rng)
    return captions.as_typed(words, rng)


def joining(name: str, things: Sequence[Concept], rng: Random) -> str:
    """One way to ask for this arrangement of the things of two pictures."""
    first, second = (captions.any_name(thing, rng) for thing in things)
    return captions.as_typed(rng.choice(ARRANGEMENTS[name].joins).format(n=first, m=second), rng)


def evaluation_phrase(name: str, things: Sequence[Concept]) -> str:
    """The fixed words by which an arrangement is judged: its first pattern, things by name."""
    return _said(ARRANGEMENTS[name].patterns[0], [thing.name for thing in things])


def _filled(pattern: str, things: Sequence[Concept], rng: Random) -> str:
    is_counted = "{ns}" in pattern or "another" in pattern
    is_usable: Callable[[str], bool] = is_countable if is_counted else bool
    return _said(pattern, [captions.any_name(thing, rng, is_usable) for thing in things])


def _said(pattern: str, names: Sequence[str]) -> str:
    first, *others = names
    if pattern.startswith("a ") and not is_countable(first):
        pattern = pattern.removeprefix("a ")
    values = {"a": captions.with_article(first), "n": first}
    if "{ns}" in pattern:
        values["ns"] = plural(first)
    if others:
        values["b"] = captions.with_article(others[0])
    return pattern.format(**values)
