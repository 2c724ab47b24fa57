"""The checks that were named, loaded: linocut's own by their names, others as `module:factory`.

What others wrote may fail in any way. Whatever it does is told in words, as CheckFailed, and
nothing passes that was not looked at.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from traceback import TracebackException
from typing import Any, Final, Generic, TypeVar

from linocut.errors import CheckFailed
from linocut.request import Picture
from linocut.safety.policy import OPEN_NSFW, TERMS, Finding, Subject, check_names

CATEGORY: Final = re.compile("[a-z_]{1,40}")  # callers read it, so it is never a whole sentence
_GIVEN: Final = {"prompt": "text", "picture": "picture"}
_LONGEST: Final = 300
_TO_MEND: Final = "nothing passes without it; whoever set it up has to mend it"
_OURS: Final = (__file__, importlib.__file__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InTurn(Generic[T]):
    """Several checks as one: they are asked in order, and the first finding is the finding."""

    checks: tuple[Callable[[T], Finding | None], ...]

    def check(self, given: T, /) -> Finding | None:
        """What is wrong with it; None if no check finds anything."""
        for ask in self.checks:
            if (finding := ask(given)) is not None:
                return finding
        return None


def prompt_checks(names: Sequence[str]) -> InTurn[str]:
    """What reads prompts. InvalidRequest for a wrong name, CheckFailed for one that won't load."""
    check_names(names, "prompt")
    return InTurn(tuple(_terms() if name == TERMS else _plugged(name, "prompt") for name in names))


def picture_checks(names: Sequence[str], *, threads: int = 1) -> InTurn[Picture]:
    """What looks at pictures. Raises as `prompt_checks` does.

    threads: how many linocut's own network may use, 0 for as many as there are cores.
    """
    check_names(names, "picture")
    return InTurn(
        tuple(
            _open_nsfw(threads) if name == OPEN_NSFW else _plugged(name, "picture")
            for name in names
        )
    )


def _terms() -> Callable[[str], Finding | None]:
    from linocut.safety.prompt import check_prompt  # noqa: PLC0415 - brings disarm

    return check_prompt


def _open_nsfw(threads: int) -> Callable[[Picture], Finding | None]:
    from linocut.safety.picture import PictureCheck  # noqa: PLC0415 - brings onnxruntime

    return PictureCheck.open(threads=threads).check


def _plugged(name: str, subject: Subject) -> Callable[[Any], Finding | None]:
    """Asks the check that `module:factory` makes, and believes it nothing."""
    what, expected = f"the {subject} check {name}", f"check({_GIVEN[subject]})"
    hint = (
        "install its module beside linocut, or put the folder that it lies in into PYTHONPATH; "
        f"its factory takes no arguments, and what it gives has {expected}"
    )
    module, _, factory = name.partition(":")
    with _in_words(f"{what} cannot be loaded", hint, quoting=True):
        made = attrgetter(factory)(importlib.import_module(module))()
        check = getattr(made, "check", None)
    if not callable(check):
        raise CheckFailed(
            f"{what} cannot be used: {type(made).__name__} has no method {expected}", hint=hint
        )
    return partial(_answer, what, subject, check)


def _answer(
    what: str, subject: Subject, check: Callable[[Any], object], given: object
) -> Finding | None:
    # What it raises may quote the prompt, which belongs into no log and to no one else.
    with _in_words(f"{what} failed", _TO_MEND, quoting=False):
        found = check(given)
    if found is None:
        return None
    if wrong := _wrong(found, subject):
        raise CheckFailed(f"{what} failed: {wrong}", hint=_TO_MEND)
    assert isinstance(found, Finding)  # noqa: S101 - what `_wrong` has looked at
    return found


def _wrong(found: object, subject: Subject) -> str:
    """Why this is no finding of such a check; empty if it is one."""
    if not isinstance(found, Finding):
        return f"it answered {type(found).__name__}, and a check answers None or a Finding"
    if found.subject != subject:
        return f"its finding is not about a {subject}: use Finding({subject!r}, ...)"
    if not isinstance(found.category, str) or not CATEGORY.fullmatch(found.category):
        return "its category is no plain word: use 1 to 40 letters from a to z and _"
    return ""


@contextmanager
def _in_words(what: str, hint: str, *, quoting: bool) -> Iterator[None]:
    """Raises CheckFailed for whatever somebody else's code raises; Ctrl+C stays what it is.

    quoting: whether the error's own text may be told.
    """
    try:
        yield
    except SystemExit as error:  # it would end the process, and with success at that
        raise CheckFailed(f"{what}: {_told(error, quoting=quoting)}", hint=hint) from error
    except Exception as error:  # somebody else's code may raise anything
        raise CheckFailed(f"{what}: {_told(error, quoting=quoting)}", hint=hint) from error


def _told(error: BaseException, *, quoting: bool) -> str:
    """An error in one line: its kind, its text, and where the other's code was left."""
    seen = TracebackException.from_exception(error)
    text = " ".join(str(seen).split())[:_LONGEST].encode("utf-8", "replace").decode()
    words = f"{type(error).__name__}: {text}" if quoting and text else type(error).__name__
    for frame in seen.stack:
        if frame.filename not in _OURS and not frame.filename.startswith("<"):
            return f"{words} ({Path(frame.filename).name}, line {frame.lineno})"
    return words
