"""The order of the checks, and what each of them stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from linocut.errors import ContentRefused
from linocut.request import ImageRequest, Picture
from linocut.safety import checks
from linocut.safety.policy import Finding

GOOD = Picture(64, 64, bytes(64 * 64 * 3))
BAD = Picture(80, 64, bytes(80 * 64 * 3))


@dataclass
class Witness:
    """Checks pictures and texts, and remembers in which order it was asked."""

    asked: list[str] = field(default_factory=list)

    def open(self) -> Witness:
        self.asked.append("opened")
        return self

    def check(self, given: Picture | str) -> Finding | None:
        name = given if isinstance(given, str) else f"{given.width} px"
        self.asked.append(name)
        if given is BAD:
            return Finding("picture", "sexual", 0.9)
        return Finding("prompt", "violence", 1.0) if given == "a rude one" else None


@pytest.fixture
def witness() -> Witness:
    """It reads prompts, too."""
    return Witness()


def test_the_words_come_first_then_every_reference(witness: Witness) -> None:
    request = ImageRequest(prompt="a cat", references=(GOOD, GOOD))
    assert checks.admitted(request, witness, witness.open) is witness
    assert witness.asked == ["a cat", "opened", "64 px", "64 px"]


def test_refused_words_open_no_picture_check(witness: Witness) -> None:
    with pytest.raises(ContentRefused) as caught:
        checks.admitted(ImageRequest(prompt="a rude one", references=(BAD,)), witness, witness.open)
    assert (caught.value.stage, caught.value.category) == ("input", "violence")
    assert witness.asked == ["a rude one"]


def test_the_first_reference_that_is_refused_ends_it(witness: Witness) -> None:
    with pytest.raises(ContentRefused, match="a reference picture"):
        checks.admitted(ImageRequest(prompt="a cat", references=(BAD, GOOD)), witness, witness.open)
    assert witness.asked == ["a cat", "opened", "80 px"]


@pytest.mark.parametrize(
    ("refusal", "stage"),
    [
        (lambda witness: checks.asked(witness, "a rude one"), "input"),
        (lambda witness: checks.drawn(BAD, witness), "output"),
    ],
    ids=("the text encoder", "the picture"),
)
def test_what_is_found_later_is_refused_with_its_stage(
    witness: Witness, refusal: Callable[[Witness], None], stage: str
) -> None:
    with pytest.raises(ContentRefused) as caught:
        refusal(witness)
    assert caught.value.stage == stage


def test_what_passes_passes(witness: Witness) -> None:
    checks.asked(witness, "a cat")
    checks.drawn(GOOD, witness)


def test_a_doubtful_preview_is_left_out_and_refuses_nothing(witness: Witness) -> None:
    assert checks.may_be_shown(GOOD, witness)
    assert not checks.may_be_shown(BAD, witness)
