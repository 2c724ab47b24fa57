"""What a run passes, and in which order: the same in the worker and in `linocut generate`.

Before anything is drawn, what costs least comes first: the words, every reference, then the text
encoder where it is asked. While it is drawn, every preview; at last the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from linocut.request import ImageRequest, Picture
from linocut.safety.policy import Finding, Stage, refuse


class Sees(Protocol):
    """What checks pictures."""

    def check(self, picture: Picture, /) -> Finding | None:
        """What is wrong with it; None if nothing is."""
        ...


class Reads(Protocol):
    """What checks texts."""

    def check(self, text: str, /) -> Finding | None:
        """What is wrong with it; None if nothing is."""
        ...


S = TypeVar("S", bound=Sees)


def admitted(request: ImageRequest, words: Reads, pictures: Callable[[], S]) -> S:
    """The picture check, once the words and then every reference have passed; ContentRefused.

    words: reads the prompt.   pictures: opens the picture check, when the words have passed.
    """
    _settle(words.check(request.prompt), "input")
    check = pictures()
    for picture in request.references:
        _settle(check.check(picture), "input")
    return check


def asked(model: Reads, prompt: str) -> None:
    """Nothing, or ContentRefused: what the text encoder says of words that were admitted."""
    _settle(model.check(prompt), "input")


def may_be_shown(preview: Picture, check: Sees) -> bool:
    """False for a doubtful preview: it is left out, and the picture itself will decide."""
    return check.check(preview) is None


def drawn(picture: Picture, check: Sees) -> None:
    """Nothing, or ContentRefused: whether what was drawn may leave."""
    _settle(check.check(picture), "output")


def _settle(finding: Finding | None, stage: Stage) -> None:
    if finding is not None:
        refuse(finding, stage)
