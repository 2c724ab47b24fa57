"""Gradients: which are asked for, and how they are told from plain backgrounds."""

from collections import Counter
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut_training import gates, scenes
from linocut_training.captions import ends, gradient_name
from linocut_training.concepts import BACKGROUNDS, STYLES
from linocut_training.gates import Prompt

COLOURS: Final = tuple(BACKGROUNDS)
GRADED: Final = gates.graded()


def test_the_committed_questions_are_those_that_are_asked() -> None:
    assert gates.read_table(gates.FOLDER / "graded.tsv", Prompt) == GRADED


def test_every_colour_is_twice_at_the_top_and_twice_at_the_bottom() -> None:
    asked = [ends(prompt.background) for prompt in GRADED]
    assert len(set(asked)) == len(GRADED) == 28
    assert Counter(top for top, _ in asked) == dict.fromkeys(COLOURS, 2)
    assert Counter(bottom for _, bottom in asked) == dict.fromkeys(COLOURS, 2)
    assert all(prompt.is_graded and prompt.background in prompt.text for prompt in GRADED)
    assert len({prompt.concept for prompt in GRADED}) == 28
    styles = Counter(prompt.style for prompt in GRADED)
    assert set(styles) == set(STYLES)
    assert max(styles.values()) - min(styles.values()) <= 1


def test_the_other_prompts_ask_for_plain_backgrounds() -> None:
    assert not [prompt for prompt in gates.prompts() if prompt.is_graded]


@pytest.mark.parametrize("prompt", GRADED, ids=lambda prompt: prompt.background)
def test_a_gradient_behind_a_thing_is_seen(prompt) -> None:
    behind = scenes.background(prompt.background, width=256, height=256)
    behind[60:200, 70:190] = (90, 200, 10)
    assert gates.background_of(behind) == prompt.background


@given(st.sampled_from(COLOURS), st.integers(0, 2**32))
def test_a_plain_background_is_no_gradient_though_it_is_a_little_uneven(name, seed) -> None:
    rng = np.random.default_rng(seed)
    shade = np.linspace(*rng.uniform(-4, 4, 2), 256)[:, None, None] + rng.normal(
        0, 2, (256, 256, 3)
    )
    pixels = (np.array(BACKGROUNDS[name]) + shade).clip(0, 255).round().astype(np.uint8)
    assert gates.background_of(pixels) == name


@given(st.permutations(COLOURS))
def test_the_name_of_a_background_tells_its_ends(colours) -> None:
    top, bottom = colours[:2]
    assert ends(gradient_name(top, bottom)) == (top, bottom)
    assert ends(top) == (top, top)


def test_drawn_shares_are_held_against_real_ones() -> None:
    drawn = {"pictures": 4, "style": 0.45, "background": 0.5, "held_out_pairs": 0.2}
    real = {"pictures": 4, "style": 0.9, "background": 1.0, "held_out_pairs": 0.0}
    assert gates.of_real(drawn, real) == {
        "style": 0.5,
        "background": 0.5,
        "held_out_pairs": 0.0,  # of what the judge does not see in real ones either
    }
