"""The fields of an object that a client sent: read one by one, everything wrong noted at once.

Nothing is turned into something else in silence: `true` is no 1, and "28" is 28 because the
contract itself writes numbers in quotes.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from linocut.errors import InvalidRequest

NUMBER: Final = r"^-?[0-9]{1,20}(\.[0-9]{1,20})?$"
SHOWN: Final = 40
MAX_NAMED: Final = 16
_NUMBER: Final = re.compile(NUMBER, re.ASCII)
_UNSENDABLE: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True)
class Form:
    """An object that is being read. A field that is null counts as absent.

    at: the object's JSON pointer, as "#/promptObject".   wrong: (pointer, what is wrong with it).
    """

    values: Mapping[str, Any]
    at: str = "#"
    wrong: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    read: set[str] = field(default_factory=set)

    def inner(self, name: str) -> Form:
        """The object in a field, read into the same lists; where there is none, that is all."""
        value = self.take(name)
        if isinstance(value, dict):
            return Form(value, f"{self.at}/{name}", self.wrong, self.warnings)
        missing = "is required: an object that holds the prompt"
        self.refuse(name, missing if value is None else f"={shown(value)}: use an object")
        return Form({})

    def take(self, name: str) -> Any:
        """The value, or None; the field is known from now on."""
        self.read.add(name)
        return self.values.get(name)

    def refuse(self, name: str, said: str) -> None:
        """Note what is wrong with a field; `said` goes on after its name."""
        self.wrong.append((f"{self.at}/{name}", f"{name}{_joined(said)}"))

    def warn(self, name: str, said: str) -> None:
        """Note what is done differently from what a field asks for."""
        self.warnings.append(f"{name}{_joined(said)}")

    def one_of(self, names: Sequence[str]) -> str:
        """The field, of several that mean the same, that is there; it is wrong if two differ."""
        there = [name for name in names if self.take(name) is not None]
        for name in there[1:]:
            if self.values[name] != self.values[there[0]]:
                said = f"={shown(self.values[name])}: {there[0]} says something else; send one"
                self.refuse(name, said)
        return there[0] if there else names[0]

    def text(self, name: str, *, default: str | None = None) -> str | None:
        """A text that can be stored everywhere."""
        value = self.take(name)
        if value is None:
            if default is None:
                self.refuse(name, "is required: a text")
            return default
        if not isinstance(value, str):
            self.refuse(name, f"={shown(value)}: use a text")
            return None
        found = _UNSENDABLE.search(value)
        if found:
            what = f"U+{ord(found[0]):04X} at character {found.start() + 1}"
            self.refuse(name, f"holds the character {what}, which no text may hold: remove it")
            return None
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse(name, f"={shown(value)}: use true or false, without quotes")
            return default
        return value

    def number(self, name: str, low: float, high: float, *, default: float) -> float:
        """A number between both, limits included."""
        value = self.take(name)
        if value is None:
            return default
        number = number_of(value)
        if number is None or not low <= number <= high:
            near = _nearest(number, low, high)
            self.refuse(name, f"={shown(value)}: use a number from {low:g} to {high:g}{near}")
            return default
        return float(number)

    def whole(self, name: str, low: int, high: int, *, default: int, rounds: bool = False) -> int:
        """A whole number between both; a fraction is rounded, with a warning, or refused."""
        value = self.take(name)
        if value is None:
            return default
        number = number_of(value)
        if number is None or not low <= number <= high or not (rounds or number == int(number)):
            near = _nearest(number, low, high, is_whole=True)
            self.refuse(name, f"={shown(value)}: use a whole number from {low} to {high}{near}")
            return default
        if number != int(number):
            self.warn(name, f"={shown(value)} was rounded to {round(number)}")
        return round(number)

    def choice(
        self,
        name: str,
        allowed: Collection[str],
        *,
        default: str,
        near: Callable[[str], str] | None = None,
    ) -> str:
        """One of the texts; `near` finds the one that was probably meant."""
        value = self.take(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in allowed:
            meant = (near or _like(allowed))(value) if isinstance(value, str) else ""
            hint = f"; did you mean {meant}?" if meant else ""
            self.refuse(name, f"={shown(value)}: use one of {', '.join(allowed)}{hint}")
            return default
        return value

    def trial(self, make: Callable[[], object]) -> None:
        """Note what the vocabulary itself says against a value."""
        try:
            make()
        except InvalidRequest as error:
            said = f"{error.message}; {error.hint}" if error.hint else error.message
            self.wrong.append((f"{self.at}/{error.field}", said))

    def unknown(self, reasons: Mapping[str, str], known: Sequence[str]) -> None:
        """Warn of every field that nobody has read; `reasons` says why, `known` what is meant."""
        names = [n for n, value in self.values.items() if n not in self.read and value is not None]
        for name in names[:MAX_NAMED]:
            reason = reasons.get(name)
            if reason is None:
                meant = _like(known)(name)
                reason = f"did you mean {meant}?" if meant else "it is not known here"
            self.warnings.append(f"{shown(name)} was ignored: {reason}")
        if names[MAX_NAMED:]:
            self.warnings.append(f"{len(names) - MAX_NAMED} more unknown fields were ignored")


def number_of(value: object) -> int | float | None:
    """The number that a JSON value is or that its text spells; None if it is none."""
    if isinstance(value, str) and _NUMBER.match(value) and not value.endswith("\n"):
        return float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def shown(value: object) -> str:
    """A few characters of what was sent, as JSON, safe to repeat."""
    if isinstance(value, dict):
        return "{…}"
    if isinstance(value, list):
        return "[…]"
    if isinstance(value, str):
        cut = value[:SHOWN].encode("utf-8", "replace").decode()
        return json.dumps(cut, ensure_ascii=False) + ("…" if len(value) > SHOWN else "")
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of about {int(value.bit_length() * math.log10(2)):,} digits"
    return json.dumps(value)


def _joined(said: str) -> str:
    return said if said.startswith(("=", "[")) else f" {said}"


def _nearest(number: float | None, low: float, high: float, *, is_whole: bool = False) -> str:
    if number is None:
        return ""
    clipped = min(max(number, low), high)
    return f"; the nearest is {round(clipped) if is_whole else format(clipped, 'g')}"


def _like(allowed: Iterable[str]) -> Callable[[str], str]:
    def near(name: str) -> str:
        known = {_plain(each): each for each in allowed}
        found = difflib.get_close_matches(_plain(name[:SHOWN]), known, n=1, cutoff=0.75)
        return known[found[0]] if found else ""

    return near


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
