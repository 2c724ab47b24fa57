"""A finding becomes a refusal that says what, where and what to do."""

from __future__ import annotations

import pickle
from typing import Literal

import pytest

from linocut.errors import ContentRefused
from linocut.safety.policy import Finding, Stage, refuse

Subject = Literal["prompt", "picture"]


@pytest.mark.parametrize(
    ("subject", "stage", "what", "hint"),
    [
        ("prompt", "input", "this prompt", "change the prompt"),
        ("picture", "input", "a reference picture", "another picture"),
        ("picture", "output", "the drawn picture", "another seed"),
    ],
)
def test_a_refusal_names_what_was_stopped_and_where(
    subject: Subject, stage: Stage, what: str, hint: str
) -> None:
    with pytest.raises(ContentRefused) as caught:
        refuse(Finding(subject, "sexual", 0.9), stage)
    error = caught.value
    assert (error.stage, error.category, error.exit_code) == (stage, "sexual", 8)
    assert error.code == "content_moderated"
    assert f"stopped {what} (stage: {stage}, category: sexual)" in error.message
    assert "nothing was kept" in error.message
    assert hint in error.hint


def test_a_refusal_survives_the_way_out_of_a_worker() -> None:
    with pytest.raises(ContentRefused) as caught:
        refuse(Finding("picture", "sexual", 0.9), "output")
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (again.message, again.stage, again.category) == (
        caught.value.message, "output", "sexual"
    )  # fmt: skip
