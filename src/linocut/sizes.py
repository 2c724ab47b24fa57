"""How large a picture may be, how large one is drawn, and where a run starts.

Torch-free.
"""

from __future__ import annotations

import math
from decimal import Decimal
from functools import lru_cache
from typing import Final

from linocut.errors import InvalidRequest

ASPECT_RATIOS: Final = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "4:3": (1152, 896),
    "3:4": (896, 1152),
    "21:9": (1536, 640),
    "9:21": (640, 1536),
}
DIVISORS: Final = {"1": 1, "0.25": 2}  # by megapixels: what each side of the table is divided by
ONE_REFERENCE_PIXELS: Final = 2024 * 2024  # the published limits
MORE_REFERENCES_PIXELS: Final = 1024 * 1024


def size_of(aspect_ratio: str, megapixels: str) -> tuple[int, int]:
    """(width, height) of the API's table; InvalidRequest names the allowed values."""
    if aspect_ratio not in ASPECT_RATIOS:
        raise InvalidRequest(
            f"aspect_ratio={aspect_ratio!r}: use one of {', '.join(ASPECT_RATIOS)}",
            field="aspect_ratio",
        )
    if megapixels not in DIVISORS:
        raise InvalidRequest(
            f"megapixels={megapixels!r}: use one of {', '.join(DIVISORS)}", field="megapixels"
        )
    width, height = ASPECT_RATIOS[aspect_ratio]
    return width // DIVISORS[megapixels], height // DIVISORS[megapixels]


def covering_grid(width: int, height: int, *, pixels_per_token: int) -> tuple[int, int]:
    """The size that a checkpoint without limits of its own draws: the fewest whole tokens that
    cover width x height. What is over is cropped.
    """
    p = pixels_per_token
    return -(-width // p) * p, -(-height // p) * p


@lru_cache(maxsize=1024)  # to compare all grids takes milliseconds, and few sizes are asked for
def drawn_size(
    width: int,
    height: int,
    *,
    pixels_per_token: int,
    native_max_tokens: int,
    native_short_side: int | None = None,
) -> tuple[int, int]:
    """The size that a checkpoint with these limits draws for a request of width x height.

    The request itself where both sides are multiples of `pixels_per_token`, it has at most
    `native_max_tokens` tokens, and its shorter side, if that is limited, at most
    `native_short_side`; else the largest such grid of the request's aspect, or nearly of it. The
    result is then resized to cover the request and cropped.
    """
    p = pixels_per_token
    side = native_short_side or native_max_tokens
    rows, columns = height // p, width // p
    on_grid = width % p == 0 and height % p == 0
    if on_grid and rows * columns <= native_max_tokens and min(rows, columns) <= side:
        return width, height
    rows, columns = _closest_grid(width, height, native_max_tokens, side)
    return columns * p, rows * p


def _closest_grid(width: int, height: int, most: int, side: int) -> tuple[int, int]:
    """(rows, columns) of at most `most` tokens, the shorter of at most `side`: nearly the aspect.

    The score is the cube of the share that survives the crop, times the tokens that are drawn: a
    lost edge may cost the subject, lost tokens only cost detail.
    """

    def score(rows: int, columns: int) -> float:
        asked, drawn = width * rows, height * columns  # they are as the two aspects
        kept = min(asked, drawn) / max(asked, drawn)
        return float(kept**3 * rows * columns)

    grids = (
        (rows, min(columns, most // rows))
        for rows in range(1, most + 1)
        for columns in _near(width * rows, height)
        if 1 <= min(rows, columns, most // rows) <= side
    )
    return max(grids, key=lambda grid: (score(*grid), -grid[0]))


def _near(dividend: int, divisor: int) -> tuple[int, int]:
    below = dividend // divisor
    return max(below, 1), max(below + 1, 1)


def reference_size(
    size: tuple[int, int], *, count: int, most_pixels: int, short_side: int | None = None
) -> tuple[int, int]:
    """What a reference is scaled to before it is cropped to whole tokens: itself, or smaller.

    count: how many references the request has. most_pixels, short_side: what the checkpoint draws
    at most, all of it and along the shorter side, in pixels.
    """
    shorter = min(size)
    if short_side is not None and shorter > short_side:
        size = size[0] * short_side // shorter, size[1] * short_side // shorter
    width, height = size
    limit = min(ONE_REFERENCE_PIXELS if count == 1 else MORE_REFERENCES_PIXELS, most_pixels)
    if width * height <= limit:
        return size
    scale = math.sqrt(limit / (width * height))
    return int(width * scale), int(height * scale)


def covering_size(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """What a picture is scaled to so that it covers width x height before it is cropped to it."""
    scale = max(width / size[0], height / size[1])
    return max(width, round(size[0] * scale)), max(height, round(size[1] * scale))


def start_index(num_steps: int, prompt_strength: float) -> int:
    """Steps left out when a run starts from a picture: floor(n · (1 - s)), in decimal arithmetic.

    Decimal, because 0.8 of 28 steps must leave out 5 and not what binary rounding makes of it.
    """
    return math.floor(num_steps * (1 - Decimal(repr(float(prompt_strength)))))
