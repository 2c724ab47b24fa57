"""Each thing's words are found in a caption, and attention is told whose they are."""

import math
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut_training import arrangements, binding, compositions, views
from linocut_training.arrangements import ARRANGEMENTS
from linocut_training.compositions import Composition
from linocut_training.concepts import CONCEPTS

TWO_NAMES = sorted(name for name, one in ARRANGEMENTS.items() if not one.is_of_one_kind)


@pytest.mark.parametrize(
    ("words", "names", "found"),
    [
        ("a cat and a ball", [("cat",), ("ball",)], ["cat", "ball"]),
        ("A Ball right of a CAT.", [("cat",), ("ball",)], ["CAT", "Ball"]),
        ("a hot dog and a dog", [("dog",), ("hot dog",)], ["dog", "hot dog"]),
        ("a dog and a hot dog", [("hot dog",), ("dog",)], ["hot dog", "dog"]),
        ("a pet cat over a globe", [("cat", "pet cat"), ("ball", "globe")], ["pet cat", "globe"]),
        ("a catfish and a ball", [("cat",), ("ball",)], None),
        ("a cat", [("cat",), ("ball",)], None),
        ("a cat and a cat", [("cat",), ("cat",)], ["cat", "cat"]),
    ],
)
def test_each_thing_has_letters_of_its_own_in_a_caption(words, names, found) -> None:
    spans = binding.spans(words, names)
    assert (spans and [words[begin:end] for begin, end in spans]) == found
    if words == "a hot dog and a dog":
        assert spans == [(16, 19), (2, 9)]
    if words == "a cat and a cat":
        assert len(set(spans)) == 2


@given(st.integers(0, 2**32), st.sampled_from(TWO_NAMES))
def test_every_caption_of_two_things_names_both(seed, name) -> None:
    rng = Random(seed)
    able = [index for index, it in enumerate(CONCEPTS) if arrangements.can_stand_in(name, it)]
    shown = Composition(name, tuple(rng.sample(able, 2)), 0, 0)
    style, background = rng.choice(views.STYLE_NAMES), rng.choice(views.BACKGROUND_NAMES)
    words = compositions.say(shown, style, background, rng)
    names = [CONCEPTS[thing].names for thing in shown.concepts]
    spans = binding.spans(words, names)
    assert spans is not None
    for (begin, end), those in zip(spans, names, strict=True):
        assert words[begin:end].lower() in [it.lower() for it in those]
    (_, first_end), (second, _) = sorted(spans)
    assert first_end <= second


def test_what_stands_at_a_place_has_its_own_rows_and_the_others() -> None:
    named = [[(3, 5), (6, 7)], None]
    own, other = binding.masks(named, [(0, 0), (0, 4)], (4, 8), 9)
    assert own.shape == other.shape == (2, 32, 9)
    left, right = torch.zeros(9, dtype=torch.bool), torch.zeros(9, dtype=torch.bool)
    left[3:5], right[6] = True, True
    for index in range(32):
        mine, its = (left, right) if index % 8 < 4 else (right, left)
        assert torch.equal(own[0, index], mine)
        assert torch.equal(other[0, index], its)
    assert not own[1].any()
    assert not other[1].any()


def test_where_nothing_stands_no_row_is_anybodys() -> None:
    own, other = binding.masks([[(0, 1), (1, 2)]], [(0, 0), (4, 4)], (8, 8), 2)
    stands = (own | other).any(2).reshape(8, 8)
    assert stands[:4, :4].all()
    assert stands[4:, 4:].all()
    assert stands.sum() == 32


def looking(at_left: list[float], at_right: list[float], blocks: int = 3) -> list[torch.Tensor]:
    """Weights of one head by which the left half of 4 x 8 tokens looks at two rows, and the right.

    What is left of each token's attention goes to a third row. [1, 1, 35, 35] each
    """
    weights = torch.zeros(1, 1, 35, 35)
    for token in range(32):
        looks = at_left if token % 8 < 4 else at_right
        weights[0, 0, 3 + token, :3] = torch.tensor([*looks, 1 - sum(looks)])
    return [weights.clone() for _ in range(blocks)]


def test_attention_that_names_things_right_has_no_error() -> None:
    own, other = binding.masks([[(0, 1), (1, 2)]], [(0, 0), (0, 4)], (4, 8), 3)
    right = binding.error(looking([0.3, 0], [0, 0.01]), own, other)
    neither = binding.error(looking([0.2, 0.2], [0.01, 0.01]), own, other)
    half = binding.error(looking([0.3, 0.1], [0.1, 0.3]), own, other)
    wrong = binding.error(looking([0, 0.3], [0.3, 0]), own, other)
    assert right.item() == pytest.approx(0, abs=1e-3)
    assert neither.item() == pytest.approx(math.log(2), abs=1e-3)
    assert half.item() == pytest.approx(math.log(4 / 3), abs=1e-3)
    assert wrong.item() > 10
    assert wrong.isfinite()


def test_the_first_block_may_look_where_it_likes() -> None:
    own, other = binding.masks([[(0, 1), (1, 2)]], [(0, 0), (0, 4)], (4, 8), 3)
    seen = looking([0.3, 0], [0, 0.3])
    seen[0] = looking([0, 0.3], [0.3, 0])[0]
    assert binding.error(seen, own, other).item() == pytest.approx(0, abs=1e-3)


def test_pictures_whose_things_are_not_named_teach_nothing() -> None:
    seen = [torch.cat([*looking([0.3, 0], [0, 0.3], 1), *looking([0, 0.3], [0.3, 0], 1)])] * 2
    tiles, grid = [(0, 0), (0, 4)], (4, 8)
    own, other = binding.masks([[(0, 1), (1, 2)], None], tiles, grid, 3)
    assert binding.error(seen, own, other).item() == pytest.approx(0, abs=1e-3)
    assert binding.error(seen, *binding.masks([None, None], tiles, grid, 3)).item() == 0


def test_some_heads_may_look_elsewhere() -> None:
    own, other = binding.masks([[(0, 1), (1, 2)]], [(0, 0), (0, 4)], (4, 8), 3)
    seen = [torch.cat((a, b), 1) for a, b in zip(
        looking([0.4, 0], [0, 0.4]), looking([0, 0], [0, 0]), strict=True)]  # fmt: skip
    assert binding.error(seen, own, other).item() == pytest.approx(0, abs=1e-3)
