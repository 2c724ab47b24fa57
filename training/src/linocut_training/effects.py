"""Styles that nobody drew: a cut-out becomes another cut-out of the same thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from PIL import Image

CELLS: Final = 14  # of pixel art, along the longer side of the thing
CELL: Final = 16  # pixels of a cell in a cut-out, as on a canvas of 256: resized, they blur
PALETTE: Final = 24  # colours of pixel art
SOLID: Final = 100  # of 255: what covers less of a cell leaves it clear


def pixelated(cutout: Image.Image) -> Image.Image:
    """A cut-out in square cells, each of one colour or clear, which it fills. RGBA"""
    box = cutout.convert("RGBA").getchannel("A").getbbox()
    if box is None:
        raise ValueError("the cut-out is empty")
    longer = max(box[2] - box[0], box[3] - box[1])
    left, top = (box[0] + box[2] - longer) / 2, (box[1] + box[3] - longer) / 2
    # Premultiplied, so that a cell at the edge has the colour of what is visible in it.
    few = (
        cutout.convert("RGBa")
        .transform((longer, longer), Image.Transform.AFFINE, (1, 0, left, 0, 1, top))
        .resize((CELLS, CELLS), Image.Resampling.BOX)
        .convert("RGBA")
    )
    colours = few.convert("RGB").quantize(
        PALETTE, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    cells = colours.convert("RGB")
    cells.putalpha(few.getchannel("A").point(lambda alpha: 255 * (alpha > SOLID)))
    return cells.resize((CELLS * CELL, CELLS * CELL), Image.Resampling.NEAREST)


def grayed(cutout: Image.Image) -> Image.Image:
    """A cut-out without its colours; as bright as it was. RGBA"""
    gray = cutout.convert("RGBA").convert("L").convert("RGB")
    gray.putalpha(cutout.convert("RGBA").getchannel("A"))
    return gray


EFFECTS: Final[Mapping[str, Callable[[Image.Image], Image.Image]]] = {
    "pixel-art": pixelated,
    "grayscale": grayed,
}
