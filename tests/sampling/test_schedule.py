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


@pytest.mark.parametrize(
    ("steps", "strength", "left_out"),
    [
        (28, 0.8, 5),  # binary: 28 · (1 - 0.8) = 5.6000000000000005 - no trap, but the promise
        (10, 0.9, 1),  # binary: 10 · (1 - 0.9) = 0.9999999999999998, which would leave out none
        (10, 0.7, 3),  # binary: 3.0000000000000004
        (50, 0.86, 7),  # binary: 7.000000000000001
        (50, 0.94, 3),  # binary: 3.0000000000000027
        (30, 0.9, 3),  # binary: 2.9999999999999996
        (28, 1.0, 0),
        (28, 0.0, 28),
        (1, 0.5, 0),
        (4, 0.26, 2),
        (4, 1e-9, 3),
        (4, 1 - 1e-12, 0),
    ],
)
def test_strength_leaves_out_steps_by_decimal_arithmetic(
    steps: int, strength: float, left_out: int
) -> None:
    assert schedule.start_index(steps, strength) == left_out


@given(st.integers(1, 50), st.integers(0, 1000))
def test_strength_in_thousandths_is_counted_exactly(steps: int, thousandths: int) -> None:
    expected = steps * (1000 - thousandths) // 1000
    assert schedule.start_index(steps, thousandths / 1000) == expected


def test_a_whole_number_is_a_strength_too() -> None:
    assert schedule.start_index(28, 1) == 0
    assert schedule.start_index(28, 0) == 28
