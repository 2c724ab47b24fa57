"""The prompt check: words that are not drawn, found through spacing and look-alike letters.

`disarm` folds letters of other scripts, invisible characters and marks to plain letters; the terms,
data in `terms.toml`, are then looked for with digits for letters, repeated letters and separators
between the letters. Torch-free.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from disarm import strip_obfuscation

from linocut.safety.policy import Finding

# A vowel may be starred out; the other signs look like their letter.
_SIGNS: Final[Mapping[str, str]] = {
    "a": "4@*", "b": "8", "e": "3*", "g": "9", "i": "1!|*", "l": "1|", "o": "0*", "s": "5$",
    "t": "7+", "u": "*",
}  # fmt: skip
_BETWEEN: Final = r"[\W_]{0,3}"
_REPEATS: Final = 9
_HOLE: Final = " ~~~~~ "  # wider than _BETWEEN: nothing is read across it


@dataclass(frozen=True, slots=True)
class Rule:
    """Terms of one category; where there is a `company`, one of it must stand with them."""

    category: str
    terms: re.Pattern[str]
    company: re.Pattern[str] | None
    unless: re.Pattern[str] | None

    def finds(self, plain: str) -> bool:
        """Whether it holds for a folded text."""
        return (
            _stands(self.terms, plain)
            and (self.company is None or _stands(self.company, plain))
            and (self.unless is None or not _stands(self.unless, plain))
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """The data file, compiled."""

    rules: tuple[Rule, ...]
    minor: re.Pattern[str]
    harmless: re.Pattern[str]


def check_prompt(text: str) -> Finding | None:
    """What is wrong with the prompt; None if nothing is."""
    terms = read_terms()
    plain = terms.harmless.sub(_HOLE, fold(text))
    category = next((rule.category for rule in terms.rules if rule.finds(plain)), None)
    if category is None:
        return None
    is_worse = category == "sexual" and _stands(terms.minor, plain)
    return Finding("prompt", "minors" if is_worse else category, 1.0)


def fold(text: str) -> str:
    """The text in plain small letters, as it looks to a reader, without apostrophes."""
    return strip_obfuscation(text).casefold().replace("'", "")


@cache
def read_terms() -> Terms:
    """The terms of the package."""
    data = tomllib.loads(files("linocut.safety").joinpath("terms.toml").read_text("utf-8"))
    minor = _any([*data["minor"], *_ages(data)])
    return Terms(
        rules=tuple(_rule(said, minor) for said in data["rule"]),
        minor=minor,
        harmless=re.compile("|".join(_exactly(phrase) for phrase in data["harmless"])),
    )


def _rule(said: Mapping[str, Any], minor: re.Pattern[str]) -> Rule:
    company, unless = said.get("with"), said.get("unless")
    if isinstance(company, list):
        company = _any(company)
    elif company is not None:
        company = minor
    return Rule(said["category"], _any(said["terms"]), company, _any(unless) if unless else None)


def _ages(data: Mapping[str, Any]) -> Iterable[str]:
    ages = data["ages"]
    numbers = [str(age) for age in range(ages["least"], ages["most"] + 1)]
    return (f"{age} {words}" for age in [*numbers, *data["age_words"]] for words in ages["as"])


def _any(terms: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(_loosely(term) for term in terms))


def _loosely(term: str) -> str:
    """A pattern for a term as whole words, however they are spaced and written."""
    word = term.replace(" ", "")
    letters = word.strip("*")
    before = "" if word.startswith("*") else r"(?<![a-z])" if letters[0].isalpha() else r"(?<!\d)"
    after = "" if word.endswith("*") else r"s?(?![a-z])"
    return before + _BETWEEN.join(_letter(letter) for letter in letters) + after


def _letter(letter: str) -> str:
    if letter == "*":
        return "[a-z]*"
    signs = re.escape(letter + _SIGNS.get(letter, ""))
    return letter if letter.isdigit() else f"[{signs}]{{1,{_REPEATS}}}"


def _exactly(phrase: str) -> str:
    words = r"[\W_]+".join(word.replace("*", "[a-z]*") for word in phrase.split())
    return rf"\b{words}\b"


def _stands(pattern: re.Pattern[str], text: str) -> bool:
    """Whether it is found in something of which at least half are letters: 80085 is a number."""
    for found in pattern.finditer(text):
        written = [sign for sign in found[0] if sign.isalnum() or sign in "@$!|+*"]
        if 2 * sum(sign.isalpha() for sign in written) >= len(written):
            return True
    return False
