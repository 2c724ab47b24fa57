"""The noise levels, against the published tables. Against diffusers' scheduler: tests/parity."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linocut.sampling import schedule

STEPS = (4, 8, 20, 28, 50)
SHIFTS = {
    1024: (2.0307, 2.0021, 1.9163, 1.8592, 1.7020),
    4096: (2.2912, 2.2679, 2.1980, 2.1514, 2.0234),
    4300: (2.3085, 2.2855, 2.2167, 2.1709, 2.0447),
    4301: (1.1847,) * 5,
    9216: (2.0167,) * 5,
    16384: (3.2300,) * 5,
}


@pytest.mark.parametrize(("tokens", "shifts"), SHIFTS.items())
def test_the_shift_is_the_published_one(tokens: int, shifts: tuple[float, ...]) -> None:
    found = [schedule.shift(tokens, steps) for steps in STEPS]
    assert found == pytest.approx(shifts, abs=5.1e-5)


def test_the_shift_jumps_where_the_published_one_does() -> None:
    assert schedule.shift(4300, 50) - schedule.shift(4301, 50) == pytest.approx(0.86, abs=0.001)
    assert schedule.shift(4288, 50) > 2  # 1024 x 1072
    assert schedule.shift(4352, 50) < 1.2  # 1024 x 1088


@pytest.mark.parametrize(
    ("steps", "first", "last"),
    [
        (50, (1, 0.99731, 0.99452, 0.99163), (0.32559, 0.23963, 0.13372, 0)),
        (28, (1, 0.99571, 0.99113, 0.98623), (0.50779, 0.39807, 0.24151, 0)),
    ],
)
def test_the_levels_of_a_megapixel_are_the_published_ones(
    steps: int, first: tuple[float, ...], last: tuple[float, ...]
) -> None:
    levels = schedule.noise_levels(4096, steps)
    assert len(levels) == steps + 1
    assert levels[:4] == pytest.approx(first, abs=5.1e-6)
    assert levels[-4:] == pytest.approx(last, abs=5.1e-6)


@given(st.integers(1, 20_000), st.integers(1, 50))
def test_levels_fall_from_one_to_zero(tokens: int, steps: int) -> None:
    levels = schedule.noise_levels(tokens, steps)
    assert levels[0] == 1
    assert levels[-1] == 0
    assert all(higher > lower for higher, lower in pairwise(levels))


@given(st.integers(1, 20_000), st.integers(2, 50))
def test_every_level_is_its_even_share_shifted(tokens: int, steps: int) -> None:
    """log(t / (1 - t)) of a shifted level is that of the even one, plus mu."""
    mu = schedule.shift(tokens, steps)
    for index, level in enumerate(schedule.noise_levels(tokens, steps)[1:-1], 1):
        even = 1 - index / steps
        moved = math.log(level / (1 - level)) - math.log(even / (1 - even))
        assert moved == pytest.approx(mu, abs=1e-9)
