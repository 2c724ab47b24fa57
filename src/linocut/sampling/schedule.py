"""The noise levels of a run, as plain floats.

Source: the published FLUX.2 sampler. Its constants were fitted by its makers; the jump between
4300 and 4301 tokens is theirs and is kept.
"""

from __future__ import annotations

import math

LONG = 4300  # tokens up to which the shift depends on the number of steps
SLOPE_10, OFFSET_10 = 8.73809524e-05, 1.89833333  # fitted at 10 steps
SLOPE_200, OFFSET_200 = 0.00016927, 0.45666666  # fitted at 200 steps


def shift(num_tokens: int, num_steps: int) -> float:
    """The exponent mu of the time shift, for that many *output* tokens (references never count)."""
    at_200 = SLOPE_200 * num_tokens + OFFSET_200
    if num_tokens > LONG:
        return at_200
    at_10 = SLOPE_10 * num_tokens + OFFSET_10
    slope = (at_200 - at_10) / 190
    return slope * num_steps + at_200 - 200 * slope


def noise_levels(num_tokens: int, num_steps: int) -> tuple[float, ...]:
    """num_steps + 1 levels, falling from 1 (noise) to 0 (picture): t = eᵐ / (eᵐ + 1/u - 1)."""
    stretch = math.exp(shift(num_tokens, num_steps))
    inner = (1 - i / num_steps for i in range(num_steps))
    return (*(stretch / (stretch + (1 / u - 1)) for u in inner), 0.0)
