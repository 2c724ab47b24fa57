"""How large a picture is asked for, and how large a checkpoint draws it. Torch-free arithmetic."""

from __future__ import annotations

from fractions import Fraction
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
MEGAPIXELS: Final = {"1": 1, "0.25": 2}  # what each side of the table is divided by


def size_of(aspect_ratio: str, megapixels: str) -> tuple[int, int]:
    """(width, height) of the API's table; InvalidRequest names the allowed values."""
    if aspect_ratio not in ASPECT_RATIOS:
        raise InvalidRequest(
            f"aspect_ratio={aspect_ratio!r}: use one of {', '.join(ASPECT_RATIOS)}",
            field="aspect_ratio",
        )
    if megapixels not in MEGAPIXELS:
        raise InvalidRequest(
            f"megapixels={megapixels!r}: use one of {', '.join(MEGAPIXELS)}", field="megapixels"
        )
    width, height = ASPECT_RATIOS[aspect_ratio]
    return width // MEGAPIXELS[megapixels], height // MEGAPIXELS[megapixels]


def drawn_size(
    width: int, height: int, *, pixels_per_token: int, native_max_tokens: int
) -> tuple[int, int]:
    """The size that a checkpoint draws for a request of width x height.

    The request itself where both sides are multiples of `pixels_per_token` and it has at most
    `native_max_tokens` tokens; else the largest grid of the request's aspect within that number,
    or nearly of it. The result is then resized to cover the request and cropped.
    """
    p = pixels_per_token
    if width % p == 0 and height % p == 0 and (width // p) * (height // p) <= native_max_tokens:
        return width, height
    rows, columns = _closest_grid(Fraction(width, height), native_max_tokens)
    return columns * p, rows * p


def _closest_grid(aspect: Fraction, most: int) -> tuple[int, int]:
    """(rows, columns), rows · columns <= most: nearly the aspect, nearly `most`.

    The score is the cube of the share that survives the crop, times the share of `most` that is
    drawn: a lost edge may cost the subject, lost tokens only cost detail.
    """

    def score(rows: int, columns: int) -> Fraction:
        drawn = Fraction(columns, rows)
        kept = min(drawn / aspect, aspect / drawn)
        return kept**3 * Fraction(rows * columns, most)

    grids = (
        (rows, min(columns, most // rows))
        for rows in range(1, most + 1)
        for columns in _near(aspect * rows)
        if min(columns, most // rows) >= 1
    )
    return max(grids, key=lambda grid: (score(*grid), -grid[0]))


def _near(value: Fraction) -> tuple[int, int]:
    below = int(value)
    return max(below, 1), max(below + 1, 1)
