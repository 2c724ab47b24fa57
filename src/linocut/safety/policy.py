"""What a safety check finds, and how a finding becomes a refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from linocut.errors import ContentRefused

Stage = Literal["input", "output"]
SafetyModel = Literal["terms", "text_encoder"]
"""What reads prompts: the terms; or the terms first, then the checkpoint's own text encoder."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why something is not drawn or not shown.

    category: what was found, as "sexual".   score: how sure the check is, 0 to 1; a check that
    knows only yes and no says 1.
    """

    subject: Literal["prompt", "picture"]
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
