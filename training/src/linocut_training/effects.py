"""Styles that nobody drew: a cut-out becomes another cut-out of the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from PIL import Image

CELLS: Final = 20  # of pixel art, along a side of the square
PALETTE: Final = 24  # colours of pixel art


def pixelated(cutout: Image.Image) -> Image.Image:
    """A cut-out in square cells, each of one colour or clear. RGBA, as large as it was."""
    # Premultiplied, so that a cell at the edge has the colour of what is visible in it.
    few = cutout.convert("RGBa").resize((CELLS, CELLS), Image.Resampling.BOX).convert("RGBA")
    colours = few.convert("RGB").quantize(
        PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    cells = colours.convert("RGB")
    cells.putalpha(few.getchannel("A").point(lambda alpha: 255 * (alpha > 127)))
    return cells.resize(cutout.size, Image.Resampling.NEAREST)


def grayed(cutout: Image.Image) -> Image.Image:
    """A cut-out without its colours; as bright as it was. RGBA"""
    gray = cutout.convert("RGBA").convert("L").convert("RGB")
    gray.putalpha(cutout.convert("RGBA").getchannel("A"))
    return gray


EFFECTS: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "pixel-art": pixelated,
    "grayscale": grayed,
}
