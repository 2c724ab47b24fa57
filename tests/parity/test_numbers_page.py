"""docs/numerics.md names tests that are there, and the demo's sizes as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from linocut.catalog import DEV, MINI, ModelConfig

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


def test_the_demo_s_sizes_are_what_the_page_says() -> None:
    section = PAGE.read_text(encoding="utf-8").split("## Where linocut-mini differs")[1]
    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", section, re.MULTILINE)
    said = {what: (mini, dev) for what, mini, dev in rows}
    assert said == {what: (of(MINI), of(DEV)) for what, of in DIFFERENCES.items()}


DIFFERENCES: Final[dict[str, Callable[[ModelConfig], str]]] = {
    "pixels a latent cell, along a side": lambda it: f"{it.autoencoder.factor}",
    "pixels a token, along a side": lambda it: f"{it.autoencoder.pixels_per_token}",
    "double and single blocks": lambda it: (
        f"{it.transformer.num_double_blocks} + {it.transformer.num_single_blocks}"
    ),
    "width, heads": lambda it: f"{it.transformer.hidden_size}, {it.transformer.num_heads}",
    "text encoder's layers, and those read": lambda it: (
        f"{it.text_encoder.num_layers}: {', '.join(map(str, it.conditioning.layers))}"
    ),
    "rows of text": lambda it: f"{it.conditioning.max_tokens}",
    "rotary theta": lambda it: f"{it.transformer.rope_theta:g}",
    "channels of each rotary axis": lambda it: f"{it.transformer.axes[0]}",
}
