"""docs/numerics.md names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "numerics.md"


def test_every_test_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)?test_\w+\.py)`", text)
    names = set(re.findall(r"`(test_\w+)`", text))
    written = "".join((TESTS / file).read_text(encoding="utf-8") for file in sorted(set(files)))
    assert names
    assert names <= set(re.findall(r"^def (test_\w+)\(", written, re.MULTILINE))


def test_every_decision_names_a_test() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## How close")[0]
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    decisions = [row for row in rows if not row.startswith("| decision")]
    assert len(decisions) > 15
    for row in decisions:
        pinned = row.rstrip(" |").split(" | ")[-1]
        assert "test_" in pinned or pinned == "the same", row
