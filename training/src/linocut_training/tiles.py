"""Small things, each encoded once by itself, of which pictures of several things are put together.

An empty canvas, with what each tile differs by from an empty one: the autoencoder sees little that
is further off than a token, so that no pair of things has to be encoded. Ten pictures put together
so differed from the same encoded whole by 0.014 to 0.089 in the mean square; their variance is 0.8.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from linocut.model.autoencoder import Autoencoder
from linocut_training import autoencoder, parallel, scenes, views
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, HELD_PAIRS, STYLES

SIDE = 4  # of a tile, in tokens
MARGIN = 1  # around it, while it is encoded: there the autoencoder sees where a picture ends
GRID: views.Grid = (SIDE + 2 * MARGIN, SIDE + 2 * MARGIN)
SCALE = 0.62  # of that canvas: a cut-out has 3.7 tokens
COLOURS = 4  # of a thing's tiles, white among them
# Half as large, pixel art has too few cells to tell things by.
STYLE_KEYS = tuple(key for key in STYLES if key != "pixel")

Place = tuple[int, int]  # the first row and column of a tile in the square


@dataclass(frozen=True, slots=True)
class Tile:
    """One small thing in a style on a background, by the indices of the views' names."""

    concept: int
    style: int
    colour: int


def tiles() -> Iterator[Tile]:
    """Every tile, in a fixed order; a thing has the same backgrounds in all styles."""
    for concept, key in product(range(len(CONCEPTS)), STYLE_KEYS):
        if (concept, key) not in HELD_PAIRS:
            for colour in _colours(concept):
                yield Tile(concept, views.STYLE_NAMES.index(key), colour)


def _colours(concept: int) -> Iterator[int]:
    yield views.WHITE
    yield from sorted(Random(f"tile/{concept}").sample(views.COLOURED, COLOURS - 1))


def picture(work: Path, tile: Tile) -> NDArray[np.uint8]:
    """A tile's pixels, with its margin. [rows, columns, 3]"""
    style, concept = STYLES[views.STYLE_NAMES[tile.style]], CONCEPTS[tile.concept]
    height, width = (length * views.PIXELS for length in GRID)
    return scenes.compose(
        views.cutout_of(work / "cutouts" / style.source / f"{concept.key}.png"),
        BACKGROUNDS[views.COLOUR_NAMES[tile.colour]],
        width=width, height=height, scale=SCALE, dx=0, dy=0,
    )  # fmt: skip


def file_of(work: Path) -> Path:
    """Where the tiles lie, as what they differ by from an empty one: float16 [N, 128, 4, 4]."""
    return work / "latents" / "tiles.npy"


def are_encoded(work: Path) -> bool:
    """Whether all of them lie there."""
    file = file_of(work)
    return file.exists() and len(np.load(file, mmap_mode="r")) == len(list(tiles()))


def encode_share(rank: int, processes: int, work: Path) -> None:
    """One process's share of the tiles, by the trained autoencoder."""
    model = autoencoder.trained(work)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16, enabled=parallel.has_bf16()), torch.inference_mode():
        views.encode_into(
            file_of(work), partial(picture, work), list(tiles()),
            model=model, rank=rank, processes=processes,
        )  # fmt: skip


@torch.inference_mode()
def finish(work: Path, model: Autoencoder, processes: int) -> None:
    """The processes' shares become one file, and every empty canvas of a ratio another."""
    inside = slice(MARGIN, MARGIN + SIDE)
    empty = np.stack(views.backgrounds(model, GRID))[:, :, inside, inside]
    latents = views.joined(file_of(work), processes)[:, :, inside, inside]
    latents = latents - empty[[tile.colour for tile in tiles()]]
    for grid in views.grids_of_ratios():
        plain = np.stack([views.evened(it) for it in views.backgrounds(model, grid)])
        views.save(_plain_file(work, grid), plain.astype(np.float16))
    views.save(file_of(work), latents.astype(np.float16))
    views.forget(file_of(work), processes)


def _plain_file(work: Path, grid: views.Grid) -> Path:
    return work / "latents" / f"plain-{grid[0]}x{grid[1]}.npy"


class Tiles:
    """The encoded tiles of a work folder, ready to be put together."""

    def __init__(self, work: Path) -> None:
        if not are_encoded(work):
            raise ValueError(f"{file_of(work)} has not all tiles: encode the views first")
        self.latents = np.load(file_of(work), mmap_mode="r")
        self.plain = {grid: np.load(_plain_file(work, grid)) for grid in views.grids_of_ratios()}
        self.number = {tile: number for number, tile in enumerate(tiles())}
        alike = defaultdict(list)
        for tile in tiles():
            alike[tile.style, tile.colour].append(tile.concept)
        self.concepts = dict(alike)  # by style and colour

    def together(
        self, grid: views.Grid, placed: Sequence[tuple[Tile, Place]]
    ) -> NDArray[np.float32]:
        """The latents of a canvas with tiles of one background around its middle. [C, H, W]"""
        canvas: NDArray[np.float32] = self.plain[grid][placed[0][0].colour].astype(np.float32)
        top, left = (
            (length - short) // 2 for length, short in zip(grid, views.SQUARE, strict=True)
        )
        for tile, (down, right) in placed:
            place = canvas[:, top + down :, left + right :][:, :SIDE, :SIDE]
            place += self.latents[self.number[tile]]
        return canvas
