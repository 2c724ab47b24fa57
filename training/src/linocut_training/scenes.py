"""Pictures to learn from: one cut-out on a plain or graded background, on a canvas of any shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .captions import ends
from .concepts import BACKGROUNDS, Colour
from .effects import CELLS

Pixels = NDArray[np.uint8]

SMALLEST: Final = 0.72
LARGEST: Final = 0.95
CELLS_ACROSS: Final = 16  # of pixel art, along the shorter side of a canvas
FURTHEST: Final = 0.5  # of the free space: small beside a large object, visible beside a small one


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an object stands: `scale` of the shorter side, offsets of the free space (-1 to 1)."""

    scale: float
    dx: float
    dy: float


def compose(
    cutout: Image.Image,
    background: Colour | Pixels,
    *,
    width: int,
    height: int,
    scale: float,
    dx: float,
    dy: float,
) -> Pixels:
    """The object on its background, as height x width x 3 bytes.

    The cut-out's square is `scale` x the shorter side; `dx` and `dy` move it through the free
    space around it: 0 is the middle, -1 and 1 touch the edges. `background` is a colour or a
    picture of the canvas's size. A cut-out already premultiplied (mode "RGBa") saves time.
    """
    if not 0 < scale <= 1 or abs(dx) > 1 or abs(dy) > 1:
        raise ValueError(f"scale={scale}, dx={dx}, dy={dy}: scale is 0 to 1, offsets -1 to 1")
    canvas = _canvas(background, width=width, height=height)
    side = max(1, round(scale * min(width, height)))
    # Premultiplied, so that the colour of invisible pixels does not bleed into the edges; and
    # Hamming, because Lanczos overshoots at a flat object's edge and draws a halo around it.
    small = cutout.convert("RGBa").resize((side, side), Image.Resampling.HAMMING, reducing_gap=3.0)
    rgba = np.asarray(small, dtype=np.uint16)
    left = round((width - side) / 2 * (1 + dx))
    top = round((height - side) / 2 * (1 + dy))
    under = canvas[top : top + side, left : left + side]
    behind = (under * (255 - rgba[..., 3:]) + 127) // 255
    under[:] = np.minimum(behind + rgba[..., :3], 255)
    return canvas


def gradient(first: Colour, second: Colour, *, width: int, height: int, angle: float) -> Pixels:
    """A canvas that runs from one colour to the other; `angle` in turns, 0 left to right."""
    across = np.linspace(-1, 1, width)[None, :] * math.cos(2 * math.pi * angle)
    down = np.linspace(-1, 1, height)[:, None] * math.sin(2 * math.pi * angle)
    along = across + down
    share = (along - along.min()) / max(float(np.ptp(along)), 1e-9)
    colours = np.asarray([first, second], dtype=np.float64)
    blend = colours[0] + share[..., None] * (colours[1] - colours[0])
    pixels: Pixels = np.rint(blend).astype(np.uint8)
    return pixels


def any_placement(rng: Random) -> Placement:
    """A tasteful place: the object large, and near the middle more often than not."""
    return Placement(
        scale=rng.uniform(SMALLEST, LARGEST),
        dx=rng.triangular(-FURTHEST, FURTHEST),
        dy=rng.triangular(-FURTHEST, FURTHEST),
    )


def placed_as(style: str, placement: Placement) -> Placement:
    """Where an object of a style stands instead: pixel art in the middle, its cells on a grid.

    A cell is what one position of the autoencoder's latents covers; smaller ones, and cells that
    lie between two, it draws with round corners.
    """
    return placement if is_placed(style) else Placement(CELLS / CELLS_ACROSS, 0, 0)


def is_placed(style: str) -> bool:
    """Whether objects of a style stand where a placement has them."""
    return style != "pixel"


def background(name: str, *, width: int, height: int) -> Colour | Pixels:
    """A named colour, or a canvas that runs from one at the top to another at the bottom."""
    top, bottom = ends(name)
    if top == bottom:
        return BACKGROUNDS[top]
    return gradient(BACKGROUNDS[top], BACKGROUNDS[bottom], width=width, height=height, angle=0.25)


def _canvas(background: Colour | Pixels, *, width: int, height: int) -> Pixels:
    if isinstance(background, np.ndarray):
        if background.shape != (height, width, 3):
            raise ValueError(f"background of {background.shape}: use {(height, width, 3)}")
        return background.copy()
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = background
    return canvas
