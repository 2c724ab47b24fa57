"""What a safety check finds, how a finding becomes a refusal, and how checks are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

from linocut.errors import ContentRefused, InvalidRequest

Stage = Literal["input", "output"]
Subject = Literal["prompt", "picture"]
SafetyModel = Literal["terms", "text_encoder"]
"""What reads prompts after their checks: nothing more; or the checkpoint's own text encoder."""

TERMS: Final = "terms"
OPEN_NSFW: Final = "opennsfw"
PROMPT_CHECKS: Final = (TERMS,)
PICTURE_CHECKS: Final = (OPEN_NSFW,)
BUILT_IN: Final[Mapping[Subject, tuple[str, ...]]] = {
    "prompt": PROMPT_CHECKS,
    "picture": PICTURE_CHECKS,
}
"""The checks that linocut brings along, in the order in which they are asked by default."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something is not drawn or not shown.

    category: what was found, as "sexual".   score: how sure the check is, 0 to 1; a check that
    knows only yes and no says 1.
    """

    subject: Subject
    category: str
    score: float


def refuse(finding: Finding, stage: Stage) -> NoReturn:
    """Raise ContentRefused for a finding; stage: "input" is what was sent, "output" what came."""
    if finding.subject == "prompt":
        what, hint = "this prompt", "change the prompt"
    elif stage == "input":
        what, hint = "a reference picture", "send another picture"
    else:
        what, hint = "the drawn picture", "change the prompt, or draw with another seed"
    raise ContentRefused(
        f"the safety check stopped {what} (stage: {stage}, category: {finding.category}); "
        "nothing was kept",
        stage=stage,
        category=finding.category,
        hint=hint,
    )


def check_names(names: Sequence[str], subject: Subject) -> None:
    """Nothing, or InvalidRequest: whether at least one check is named, and each rightly.

    A name is one of `BUILT_IN`, or `module:factory`; whether that can be loaded is not asked.
    """
    own = ", ".join(BUILT_IN[subject])
    if not names:
        raise InvalidRequest(
            f"no {subject} check is named: name at least one, as {own}; an empty list switches "
            "nothing off, LINOCUT_SAFETY and --disable-safety-checker do",
            field=f"{subject}_checks",
        )
    for name in names:
        if name not in BUILT_IN[subject] and not _is_reference(name):
            raise InvalidRequest(
                f"{name!r} is no {subject} check: use {own}, or module:factory for one of your "
                "own, as my_checks:Mine",
                field=f"{subject}_checks",
            )


def _is_reference(name: str) -> bool:
    """Whether it is written as module:factory, each perhaps with dots."""
    parts = name.split(":")
    words = [word for part in parts for word in part.split(".")]
    return len(parts) == 2 and all(word.isidentifier() for word in words)
