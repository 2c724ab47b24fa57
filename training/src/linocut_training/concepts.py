"""What linocut-mini can draw: concepts, styles, and the colours behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Final

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Concept:
    """One thing to draw; captions call it `name`, and its emoji is at `codepoint`."""

    key: str
    name: str
    synonyms: tuple[str, ...]
    group: str
    codepoint: str

    @property
    def names(self) -> tuple[str, ...]:
        """Whatever it may be called."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True, slots=True)
class Border:
    """A line around an object and a soft rim outside it; widths are shares of a cut-out's side."""

    colour: Colour
    width: float
    rim_colour: Colour = (0, 0, 0)
    rim: float = 0.0

    @property
    def whole(self) -> float:
        """Both widths together."""
        return self.width + self.rim


@dataclass(frozen=True, slots=True)
class Style:
    """One way of drawing, and how captions speak of it.

    `word` stands before "style"; `noun` is one picture drawn so. In `patterns`, {a} is the thing
    with its article, {n} without, and {article} an article for the adjective that follows.
    made_from: the source whose cut-outs become this style's, by `effects.EFFECTS`; none where the
    source is an artist's.
    """

    key: str
    source: str
    word: str
    noun: str
    patterns: tuple[str, ...]
    border: Border | None = None
    made_from: str | None = None


class BadVocabulary(ValueError):
    """A row of the vocabulary that cannot be meant; the message says which, and why."""


# What the checkpoint learned first and later, what it is learning, and what it shall learn.
EDITIONS: Final = ("first", "second", "third", "next")
KNOWN_GROUPS: Final = (
    *("food", "animals", "vehicles", "buildings", "nature", "objects", "faces"),
    *("household", "clothes", "sports", "places", "tools", "office", "music", "people", "body"),
    *("symbols", "flags"),
)
COLUMNS: Final = ("edition", "group", "codepoint", "name", "synonyms")


def read_vocabulary(text: str) -> dict[str, tuple[Concept, ...]]:
    """The concepts of each edition, in the order of the tab-separated rows of `text`."""
    first, *rows = text.splitlines() or [""]
    if tuple(first.split("\t")) != COLUMNS:
        raise BadVocabulary(
            f"vocabulary: the first line is {first!r}, not the columns {', '.join(COLUMNS)}"
        )
    found: dict[str, list[Concept]] = {edition: [] for edition in EDITIONS}
    taken: dict[tuple[str, str], str] = {}
    for number, row in enumerate(rows, start=2):
        try:
            edition, concept = _concept(row)
            if any(found[later] for later in EDITIONS[EDITIONS.index(edition) + 1 :]):
                raise BadVocabulary(f"edition {edition!r} stands after a later one")
            _take(concept, taken)
        except BadVocabulary as bad:
            raise BadVocabulary(f"vocabulary, line {number}, {row!r}: {bad}") from None
        found[edition].append(concept)
    return {edition: tuple(concepts) for edition, concepts in found.items()}


def _concept(row: str) -> tuple[str, Concept]:
    """A row's edition, and its concept; the key is the name with underscores."""
    fields = row.split("\t")
    if len(fields) != len(COLUMNS):
        raise BadVocabulary(f"{len(fields)} columns, not {len(COLUMNS)}")
    edition, group, codepoint, name, others = fields
    if edition not in EDITIONS:
        raise BadVocabulary(f"edition {edition!r} is none of {', '.join(EDITIONS)}")
    if group not in KNOWN_GROUPS:
        raise BadVocabulary(f"group {group!r} is none of {', '.join(KNOWN_GROUPS)}")
    if not _CODE.fullmatch(codepoint):
        raise BadVocabulary(f"code point {codepoint!r} is not lower-case hex joined by '-'")
    synonyms = tuple(others.split("; ")) if others else ()
    for word in (name, *synonyms):
        if not _WORD.fullmatch(word):
            raise BadVocabulary(f"{word!r} is not plain lower-case English")
    key = name.replace("'", "").replace("-", "_").replace(" ", "_")
    return edition, Concept(key, name, synonyms, group, codepoint)


def _take(concept: Concept, taken: dict[tuple[str, str], str]) -> None:
    """Note what the concept is known by; no two may be known by the same."""
    known_by = [
        *(("word", word) for word in concept.names),
        ("key", concept.key),
        ("code point", concept.codepoint),
    ]
    for kind, mark in known_by:
        if (kind, mark) in taken:
            raise BadVocabulary(f"{kind} {mark!r} already belongs to {taken[kind, mark]!r}")
        taken[kind, mark] = concept.name


_CODE: Final = re.compile(r"[0-9a-f]{4,6}(-[0-9a-f]{4,6})*")
_WORD: Final = re.compile(r"[a-z0-9]([a-z0-9' -]*[a-z0-9])?")
_EDITION: Final = read_vocabulary(
    resources.files(__package__).joinpath("vocabulary.tsv").read_text(encoding="utf-8")
)

FIRST: Final = _EDITION["first"]
BEFORE: Final = FIRST + _EDITION["second"]  # what the checkpoint before knows
CONCEPTS: Final = BEFORE + _EDITION["third"]  # and what it learns just now, if anything
VOCABULARY: Final = tuple(concept for concepts in _EDITION.values() for concept in concepts)
GROUPS: Final = tuple(dict.fromkeys(concept.group for concept in CONCEPTS))
CONCEPT_OF: Final = {concept.key: concept for concept in CONCEPTS}

_COMMON_PATTERNS: Final = ("{a}, %s style", "{a} in %s style", "{n}, %s style")


def _style(
    key: str, source: str, word: str, noun: str, *patterns: str,
    border: Border | None = None, made_from: str | None = None,
) -> Style:  # fmt: skip
    common = tuple(pattern % word for pattern in _COMMON_PATTERNS)
    return Style(key, source, word, noun, common + patterns, border, made_from)


_INK: Final = Border((34, 28, 32), 0.026)  # as comics are inked: without it, noto looks flat or 3D
_DIE_CUT: Final = Border((255, 255, 255), 0.04, (186, 186, 190), 0.008)  # the rim shows on white


STYLES: Final = {
    style.key: style
    for style in (
        _style(
            "3d",
            "fluent-3d",
            "3D",
            "a 3D render",
            "a 3D render of {a}",
            "3D render of {a}",
            "{article} 3D {n}",
            "3D {n}",
            "{a} in 3D",
            "a 3D icon of {a}",
        ),
        _style(
            "flat",
            "fluent-flat",
            "flat",
            "a flat icon",
            "a flat icon of {a}",
            "flat icon of {a}",
            "{article} flat {n}",
            "{a} as a flat icon",
            "a flat drawing of {a}",
        ),
        _style(
            "cartoon",
            "noto",
            "cartoon",
            "a cartoon",
            "a cartoon of {a}",
            "{article} cartoon {n}",
            "cartoon {n}",
            "a cartoon drawing of {a}",
            "{a} as a cartoon",
            border=_INK,
        ),
        _style(
            "sticker",
            "twemoji",
            "sticker",
            "a sticker",
            "a sticker of {a}",
            "sticker of {a}",
            "{n} sticker",
            "{a} as a sticker",
            "a die-cut sticker of {a}",
            border=_DIE_CUT,
        ),
        _style(
            "pixel",
            "pixel-art",
            "pixel art",
            "pixel art",
            "pixel art of {a}",
            "{a} in pixel art",
            "{a} as pixel art",
            "{article} pixel art {n}",
            "{article} pixelated {n}",
            made_from="fluent-flat",  # whose few plain areas are still told at so many cells
        ),
        _style(
            "grayscale",
            "grayscale",
            "black and white",
            "a black and white picture",
            "a black and white picture of {a}",
            "{article} black and white {n}",
            "{a} in black and white",
            "{n} in black and white",
            "a grayscale picture of {a}",
            "{a} in grayscale",
            made_from="fluent-3d",
        ),
    )
}
# The styles that artists drew, and their sources; the others are made from these.
DRAWN: Final = tuple(key for key, style in STYLES.items() if style.made_from is None)
DRAWN_SOURCES: Final = tuple(STYLES[key].source for key in DRAWN)
# What drawn pictures of a style are too easily taken for. The others hold their own; pushed as
# well, red apples in 3D turned purple.
RIVALS: Final = {"flat": "3d"}
BORDERS: Final = {style.source: style.border for style in STYLES.values()}
DEFAULT_STYLE: Final = "3d"  # what a caption without a style means


def _with_what_is_made_of_it(index: int, held: str) -> Iterator[tuple[int, str]]:
    yield index, held
    for style in STYLES.values():
        if style.made_from == STYLES[held].source:
            yield index, style.key


# Indices of concepts, with a style that they are never shown in, nor in one made from it: drawn
# all the same, it tells whether a style is known, or only pictures of it.
HELD_PAIRS: Final = frozenset(
    pair
    for turn, index in enumerate(range(len(FIRST), len(CONCEPTS), 7))
    for pair in _with_what_is_made_of_it(index, DRAWN[1 + turn % (len(DRAWN) - 1)])
)

# Drawn by other hands: a classifier that has seen these judges the shape and not the file.
EXTRA_SOURCES: Final = ("noto-v1", "emojione", "fluent", "fxemoji", "streamline")

BACKGROUNDS: Final[dict[str, Colour]] = {
    "white": (255, 255, 255),
    "red": (222, 66, 66),
    "orange": (246, 148, 58),
    "yellow": (250, 216, 84),
    "green": (58, 146, 76),
    "light green": (172, 222, 146),
    "blue": (52, 104, 206),
    "light blue": (160, 208, 246),
    "purple": (134, 82, 184),
    "pink": (250, 172, 200),
    "brown": (132, 88, 58),
    "black": (26, 26, 30),
    "gray": (150, 152, 156),
    "teal": (38, 154, 152),
}
DEFAULT_BACKGROUND: Final = "white"  # what a caption without a background means
