"""Seeds are a promise: the draw is this formula and no other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut.sampling import noise

SEEDS = st.integers(0, 2**53 - 1)


@given(SEEDS, st.integers(0, 2000), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_the_noise_of_a_picture_is_the_promised_draw(
    seed: int, index: int, channels: int, rows: int, columns: int
) -> None:
    generator = torch.Generator("cpu").manual_seed((seed + index) % 2**64)
    promised = torch.randn((1, channels, rows, columns), generator=generator)
    drawn = noise.draw(seed, channels, rows, columns, index=index)
    assert torch.equal(drawn, promised)
    assert drawn.dtype == torch.float32
    assert drawn.device.type == "cpu"


@given(SEEDS, st.integers(1, 50))
def test_picture_i_of_a_seed_is_picture_zero_of_the_seed_i_higher(seed: int, index: int) -> None:
    assert torch.equal(noise.draw(seed, 2, 3, 4, index=index), noise.draw(seed + index, 2, 3, 4))


def test_seeds_wrap_around_at_two_to_the_sixty_four() -> None:
    assert torch.equal(noise.draw(2**64 - 1, 2, 3, 4, index=3), noise.draw(2, 2, 3, 4))


def test_the_draw_of_a_seed_is_the_same_for_ever() -> None:
    """PyTorch's promise, held against numbers of the day this was written."""
    drawn = noise.draw(4711, 128, 4, 4).flatten().tolist()
    assert drawn[:4] == pytest.approx([-1.2505087, -2.1954317, 0.2031116, -0.4177786], abs=1e-5)
    assert drawn[-3:] == pytest.approx([-0.0528788, 0.9054500, -0.7044883], abs=1e-5)


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    noise.draw(5, 2, 3, 4)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("shape", [(128, 1, 1), (16, 3, 5), (128, 16, 16)])
def test_a_draw_in_bf16_is_the_draw_rounded(shape: tuple[int, int, int]) -> None:
    """diffusers draws in the model's dtype; that this is `draw` rounded makes the modes agree."""
    generator = torch.Generator("cpu").manual_seed(7)
    theirs = torch.randn((1, *shape), generator=generator, dtype=torch.bfloat16)
    assert torch.equal(noise.draw(7, *shape).bfloat16(), theirs)
