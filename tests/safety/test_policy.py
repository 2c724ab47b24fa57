"""A finding becomes a refusal that says what, where and what to do; checks are named rightly."""

from __future__ import annotations

import pickle

import pytest

from linocut.errors import ContentRefused, InvalidRequest
from linocut.safety.policy import BUILT_IN, Finding, Stage, Subject, check_names, refuse


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


@pytest.mark.parametrize("subject", ["prompt", "picture"])
def test_a_check_is_a_word_of_ours_or_a_module_and_what_makes_it(subject: Subject) -> None:
    check_names(BUILT_IN[subject], subject)
    check_names(("my_checks:Mine", *BUILT_IN[subject], "a.b.c:Mine.open", "müll:prüfung"), subject)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("term", "prompt"),
        ("opennsfw", "prompt"),  # which looks at pictures
        ("terms", "picture"),  # which reads prompts
        ("my_checks", "picture"),
        ("my_checks:", "picture"),
        (":Mine", "picture"),
        (".my_checks:Mine", "picture"),
        ("my_checks:Mine:more", "picture"),
        ("my-checks:Mine", "picture"),
        ("my_checks:Mine()", "picture"),
        ("", "prompt"),
    ],
)
def test_another_name_is_refused_with_those_that_are_allowed(name: str, subject: Subject) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_names((*BUILT_IN[subject], name), subject)
    assert f"{name!r} is no {subject} check: use {BUILT_IN[subject][0]}, or module:factory" in str(
        caught.value
    )


@pytest.mark.parametrize("subject", ["prompt", "picture"])
def test_an_empty_list_says_what_switches_checks_off(subject: Subject) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_names((), subject)
    assert f"no {subject} check is named: name at least one, as {BUILT_IN[subject][0]}" in str(
        caught.value
    )
    assert "LINOCUT_SAFETY" in caught.value.message
    assert caught.value.field == f"{subject}_checks"
