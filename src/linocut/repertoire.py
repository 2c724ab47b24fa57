"""What a demo checkpoint was taught, and whether a prompt asks for any of it. Torch-free.

A checkpoint trained on everything has no such list; one that was taught a few hundred things has
it beside its weights, so that people learn what to ask for before they wonder at a blob.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from linocut.errors import CheckpointInvalid
from linocut.fields import Fields, read_fields

FILE: Final = "repertoire.json"
MOST_THINGS: Final = 10_000
MOST_LETTERS: Final = 100  # of a name
MOST_WAYS: Final = 1_000  # styles, and backgrounds
MOST_LETTERS_OF_ALL: Final = 200_000  # so that a worker can send them in the head of one frame
READ_LETTERS: Final = 2_000  # of a prompt: what comes later no demo reads
COMPARED_WORDS: Final = 12  # of a prompt that names nothing: with every name, letter by letter
LEAST_LETTERS: Final = 4  # of a word that may mean a name
LEAST_SPELLED: Final = 6  # and of one that may be misspelled: a raven is no ramen, a crow no crown
MOST_SPELLED: Final = 24
MOST_COMPARED: Final = 1_000  # names that a word may be a misspelling of
LEAST_MORE: Final = 3  # letters before it in a compound: "sail" and "boat", not "c" and "hair"
ALIKE: Final = 0.8  # by difflib: "elefant" and "elephant" are
MOST_MEANT: Final = 3
_NO_NOUNS: Final = frozenset((
    "above", "against", "background", "behind", "below", "beside", "between", "from", "front",
    "gradient", "into", "left", "near", "next", "onto", "over", "right", "style", "that", "this",
    "under", "with",
))  # fmt: skip
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that can be drawn; also: whatever else prompts call it, its plurals among it."""

    name: str
    group: str
    also: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Whatever prompts call it."""
        return (self.name, *self.also)


@dataclass(frozen=True, slots=True)
class Repertoire:
    """All that a checkpoint was taught: the things, the styles, and the backgrounds' names."""

    things: tuple[Thing, ...]
    styles: tuple[str, ...]
    backgrounds: tuple[str, ...]

    @property
    def by_group(self) -> dict[str, list[str]]:
        """The things' names, group by group, in their order."""
        groups: dict[str, list[str]] = {}
        for thing in self.things:
            groups.setdefault(thing.group, []).append(thing.name)
        return groups

    def named(self, prompt: str) -> tuple[Thing, ...]:
        """The things that a prompt names, by whole words, whatever their case and accents.

        What is behind them is not among them: "a boat, orange background" names no orange.
        """
        index = _index(self)
        words = index.behind.sub(" ", f" {_read(prompt)} ")
        return tuple(
            thing
            for thing, names in zip(self.things, index.names, strict=True)
            if any(name in words for name in names)
        )

    def meant(self, prompt: str) -> tuple[str, ...]:
        """Names of things that the prompt's first words may mean: "boat" a sailboat; mostly none.

        Each ends in such a word, or else is nearly written like one.
        """
        index = _index(self)
        words = [
            word
            for word in _read(prompt).split()
            if len(word) >= LEAST_LETTERS and word not in index.no_things
        ]
        found = [name for word in words[:COMPARED_WORDS] for name in index.near(word)]
        return tuple(dict.fromkeys(found))[:MOST_MEANT]


@dataclass(frozen=True, slots=True)
class _Index:
    """A repertoire as prompts are compared with it, in plain words.

    names: of each thing, with a space on both sides. called: whatever things are called, to their
    names; ends: to its last word. behind: finds words for a background. no_things: words for how
    things are drawn.
    """

    names: tuple[tuple[str, ...], ...]
    called: dict[str, str]
    ends: dict[str, str]
    behind: re.Pattern[str]
    no_things: frozenset[str]

    def near(self, word: str) -> list[str]:
        """The things that it may mean: those that are one, else compounds, else one misspelled."""
        exact = [plain for plain, end in self.ends.items() if end == word]
        least = len(word) + LEAST_MORE
        inside = [
            plain for plain, end in self.ends.items() if end.endswith(word) and len(end) >= least
        ]
        found = exact or inside or self._spelled(word)
        return [self.called[plain] for plain in found]

    def _spelled(self, word: str) -> list[str]:
        """What it may be a misspelling of: few get the first letter wrong or leave out several."""
        if not LEAST_SPELLED <= len(word) <= MOST_SPELLED:
            return []
        alike = [
            plain
            for plain in self.called
            if plain[0] == word[0]
            and abs(len(plain) - len(word)) <= 1
            and len(plain) >= LEAST_LETTERS
        ]
        return difflib.get_close_matches(word, alike[:MOST_COMPARED], n=1, cutoff=ALIKE)


@lru_cache(maxsize=4)
def _index(of: Repertoire) -> _Index:
    plain = [[_plain(name) for name in thing.names] for thing in of.things]
    called = {
        name: thing.name for thing, names in zip(of.things, plain, strict=True) for name in names
    }
    colours = "|".join(re.escape(_plain(name)) for name in of.backgrounds) or "(?!)"
    how = {word for name in (*of.styles, *of.backgrounds) for word in _plain(name).split()}
    return _Index(
        names=tuple(tuple(f" {name} " for name in names) for names in plain),
        called=called,
        ends={name: name.rpartition(" ")[2] for name in called},
        behind=re.compile(rf" (?:(?:{colours}) to )?(?:{colours}) (?:gradient )?background "),
        no_things=_NO_NOUNS | how,
    )


def _read(prompt: str) -> str:
    """A prompt's first words; one letter may become eighteen."""
    return _plain(prompt[:READ_LETTERS])[:READ_LETTERS]


def _plain(text: str) -> str:
    """Words of lower-case letters and digits with a space between them, without accents."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    # Marks on letters, and what only says how they are set: soft hyphens, joiners.
    seen = (it for it in letters if unicodedata.category(it) not in ("Mn", "Cf"))
    return " ".join(_WORD.findall("".join(seen)))


def read_repertoire(folder: Path) -> Repertoire | None:
    """What the `repertoire.json` in a checkpoint's folder says; None where there is none.

    Its things are an object of groups, each an object of names, each a list of other names.
    Raises CheckpointInvalid.
    """
    file = folder / FILE
    if not file.exists():
        return None
    if not file.is_file():  # a pipe, say, would be waited for
        raise CheckpointInvalid(f"{file} is no plain file; remove it, or put a list there")
    fields = read_fields(file)
    fields.known("things", "styles", "backgrounds")
    things = tuple(_things(fields.inner("things")))
    if not 1 <= len(things) <= MOST_THINGS:
        raise CheckpointInvalid(
            f"{file} names {len(things):,} things; 1 to {MOST_THINGS:,} are needed"
        )
    found = Repertoire(things, _names(fields, "styles"), _names(fields, "backgrounds"))
    if len(found.styles) > MOST_WAYS or len(found.backgrounds) > MOST_WAYS:
        raise CheckpointInvalid(f"{file}: at most {MOST_WAYS:,} styles and backgrounds are read")
    twice = [name for name, n in Counter(_plain(it.name) for it in things).items() if n > 1]
    if twice:
        raise CheckpointInvalid(f"{file}: two things are called {twice[0]!r}")
    texts = [text for it in things for text in (it.group, *it.names)]
    letters = sum(map(len, (*texts, *found.styles, *found.backgrounds)))
    if letters > MOST_LETTERS_OF_ALL:
        raise CheckpointInvalid(
            f"{file}: {letters:,} characters, a group's counted for each of its things; at most "
            f"{MOST_LETTERS_OF_ALL:,} are read"
        )
    return found


def _things(groups: Fields) -> Iterator[Thing]:
    for group in groups.values:
        of, names = _name(groups.file, group), groups.inner(group)
        for name in names.values:
            yield Thing(_name(groups.file, name), of, _names(names, name))


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    return tuple(_name(fields.file, text) for text in fields.texts(key))


def _name(file: Path, text: str) -> str:
    """The text, if it can be shown to a person and found in a prompt."""
    if len(text) > MOST_LETTERS or not text.isprintable() or not _plain(text):
        raise CheckpointInvalid(
            f"{file}: {text[:60]!r} is no name; 1 to {MOST_LETTERS} printable characters with a "
            "letter or digit among them are needed"
        )
    return text
