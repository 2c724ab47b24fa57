"""What a demo checkpoint was taught, and whether a prompt asks for any of it. Torch-free.

A checkpoint trained on everything has no such list; one that was taught a few hundred things has
it beside its weights, so that people learn what to ask for before they wonder at a blob.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linocut.errors import CheckpointInvalid
from linocut.fields import Fields, read_fields

FILE: Final = "repertoire.json"
MOST_THINGS: Final = 10_000
MOST_LETTERS: Final = 100  # of a name
COMPARED_WORDS: Final = 12  # of a prompt that names nothing: with every name, letter by letter
LEAST_LETTERS: Final = 4  # of a word that may mean a name
ALIKE: Final = 0.75  # by difflib: "elefant" and "elephant" are
MOST_MEANT: Final = 3
_NO_NOUNS: Final = frozenset((
    "above", "against", "background", "behind", "below", "beside", "between", "from", "front",
    "into", "left", "near", "next", "onto", "over", "right", "style", "that", "this", "under",
    "with",
))  # fmt: skip
_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing that can be drawn; also: whatever else prompts call it, its plurals among it."""

    name: str
    group: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repertoire:
    """All that a checkpoint was taught: the things, the styles, and the backgrounds' names."""

    things: tuple[Thing, ...]
    styles: tuple[str, ...]
    backgrounds: tuple[str, ...]

    @property
    def by_group(self) -> dict[str, tuple[str, ...]]:
        """The things' names, group by group, in their order."""
        groups = dict.fromkeys(thing.group for thing in self.things)
        return {
            group: tuple(thing.name for thing in self.things if thing.group == group)
            for group in groups
        }

    def named(self, prompt: str) -> tuple[Thing, ...]:
        """The things that a prompt names, by whole words, whatever their case and accents."""
        words = f" {_plain(prompt)} "
        return tuple(
            thing
            for thing in self.things
            if any(f" {_plain(name)} " in words for name in (thing.name, *thing.also))
        )

    def meant(self, prompt: str) -> tuple[str, ...]:
        """Names of things that the prompt's first words may mean: "boat" a sailboat; mostly none.

        Each ends in such a word, or else is nearly written like one.
        """
        things = {
            _plain(name): thing.name for thing in self.things for name in (thing.name, *thing.also)
        }
        words = [word for word in _plain(prompt).split() if word not in _NO_NOUNS]
        found: dict[str, None] = {}
        for word in words[:COMPARED_WORDS]:
            if len(word) >= LEAST_LETTERS:
                found.update(dict.fromkeys(things[name] for name in _near(word, things)))
        return tuple(found)[:MOST_MEANT]


def _near(word: str, names: Iterable[str]) -> list[str]:
    ending = [name for name in names if name.endswith(word)]
    alike = [name for name in names if name[0] == word[0]]  # few get the first letter wrong
    return ending or difflib.get_close_matches(word, alike, n=1, cutoff=ALIKE)


def _plain(text: str) -> str:
    """Words of lower-case letters and digits with a space between them, without accents."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    unaccented = "".join(it for it in letters if not unicodedata.combining(it))
    return " ".join(_WORD.findall(unaccented))


def read_repertoire(folder: Path) -> Repertoire | None:
    """What the `repertoire.json` in a checkpoint's folder says; None where there is none.

    Its things are an object of groups, each an object of names, each a list of other names.
    Raises CheckpointInvalid.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    fields = read_fields(file)
    _only(fields, ("things", "styles", "backgrounds"))
    groups = fields.inner("things")
    things = []
    for group in groups.values:
        names, of = groups.inner(group), _name(file, group)
        things += [Thing(_name(file, name), of, _names(names, name)) for name in names.values]
    if not 1 <= len(things) <= MOST_THINGS:
        raise CheckpointInvalid(
            f"{file} names {len(things):,} things; 1 to {MOST_THINGS:,} are needed"
        )
    return Repertoire(tuple(things), _names(fields, "styles"), _names(fields, "backgrounds"))


def _only(fields: Fields, known: tuple[str, ...]) -> None:
    for key in fields.values:
        if key not in known:
            raise CheckpointInvalid(
                f"{fields.file}: {key!r} is not known; the keys are {', '.join(known)}"
            )


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    return tuple(_name(fields.file, text) for text in fields.texts(key))


def _name(file: Path, text: str) -> str:
    """The text, if it can be shown to a person and found in a prompt."""
    if len(text) > MOST_LETTERS or not text.isprintable() or not _plain(text):
        raise CheckpointInvalid(
            f"{file}: {text[:60]!r} is no name; 1 to {MOST_LETTERS} printable letters are needed"
        )
    return text
