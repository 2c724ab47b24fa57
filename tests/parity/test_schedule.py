"""The noise levels and the steps between them are diffusers' scheduler's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
from hypothesis import example, given
from hypothesis import strategies as st

from linocut.sampling import schedule
from linocut.sampling.denoise import denoise

TOKENS, STEPS = st.integers(1, 20_000), st.integers(1, 50)


@given(TOKENS, STEPS)
@example(4300, 50)
@example(4301, 50)
@example(4300, 1)
def test_the_shift_is_theirs(num_tokens: int, num_steps: int) -> None:
    expected = compute_empirical_mu(num_tokens, num_steps)
    assert schedule.shift(num_tokens, num_steps) == pytest.approx(expected, abs=1e-12)


@given(num_tokens=TOKENS, num_steps=STEPS)
@example(num_tokens=4300, num_steps=50)
@example(num_tokens=4301, num_steps=50)
@example(num_tokens=4096, num_steps=28)
def test_the_levels_are_theirs(
    num_tokens: int, num_steps: int, oracle: SimpleNamespace, small: SimpleNamespace
) -> None:
    expected = oracle.their_schedule(num_tokens, num_steps)
    levels = torch.tensor(schedule.noise_levels(num_tokens, num_steps))
    assert small.relative_error(levels, expected.sigmas) <= 5e-7
    assert small.relative_error(levels[:-1] * 1000, expected.timesteps) <= 5e-7


def test_the_steps_are_theirs(oracle: SimpleNamespace, small: SimpleNamespace) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, *velocities = torch.randn(9, 1, 6, 4, generator=generator)
    theirs, x_BLC = oracle.their_schedule(6, 8), noise
    levels = schedule.noise_levels(6, 8)
    steps = denoise(lambda _, index: velocities[index], noise, levels)
    for step, time, velocity in zip(steps, theirs.timesteps, velocities, strict=True):
        x_BLC = theirs.step(velocity, time, x_BLC, return_dict=False)[0]
        assert small.relative_error(step.x_BLC, x_BLC) <= 1e-6
