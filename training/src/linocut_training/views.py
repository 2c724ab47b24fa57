"""What the transformer learns from: latents of every concept in every style, encoded once.

A view is one concept, style, placement and background on one grid of tokens: 568 of a concept. On
the square grid every placement of a concept has every style and every background, so that two views
that differ in one thing make an edit: (reference, instruction, target).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from linocut.catalog import MINI
from linocut.model.autoencoder import Autoencoder
from linocut.sizes import ASPECT_RATIOS, drawn_size
from linocut_training import autoencoder, scenes
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, DEFAULT_BACKGROUND, STYLES

PIXELS = MINI.autoencoder.pixels_per_token
SQUARE = (8, 8)  # rows, columns
PLACEMENTS = 6
COLOURS_ELSEWHERE = 2  # white and another one, on each of the other grids
SIDES = range(256, 1025, 64)  # of pictures that people ask for
SMALLER = ((256, 192), (192, 256), (192, 192))  # requests that lie on a grid of their own
COLOUR_NAMES = tuple(BACKGROUNDS)
WHITE = COLOUR_NAMES.index(DEFAULT_BACKGROUND)
COLOURED = tuple(colour for colour in range(len(COLOUR_NAMES)) if colour != WHITE)
STYLE_NAMES = tuple(STYLES)


@dataclass(frozen=True, slots=True)
class View:
    """One picture to encode, by its indices; `placement` counts within its concept and grid."""

    concept: int
    style: int
    placement: int
    colour: int


def grids() -> tuple[tuple[int, int], ...]:
    """The square grid, then every other that the API's and sides of 256 to 1024 px are drawn on."""
    wanted = [*ASPECT_RATIOS.values(), *SMALLER, *product(SIDES, SIDES)]
    drawn = [
        drawn_size(w, h, pixels_per_token=PIXELS, native_max_tokens=MINI.native_max_tokens)
        for w, h in wanted
    ]
    others = dict.fromkeys((height // PIXELS, width // PIXELS) for width, height in drawn)
    return (SQUARE, *(grid for grid in others if grid != SQUARE))


def views_on(grid: tuple[int, int]) -> Iterator[View]:
    """Every view of a grid, in a fixed order: concept, style, placement, colour."""
    for concept in range(len(CONCEPTS)):
        for style in range(len(STYLE_NAMES)):
            if grid == SQUARE:
                for placement in range(PLACEMENTS):
                    for colour in range(len(COLOUR_NAMES)):
                        yield View(concept, style, placement, colour)
            else:
                rng = Random(f"{grid}/{concept}/{style}")
                others = rng.sample(COLOURED, COLOURS_ELSEWHERE - 1)
                for colour in sorted((WHITE, *others)):
                    yield View(concept, style, 0, colour)


def picture(work: Path, view: View, grid: tuple[int, int]) -> NDArray[np.uint8]:
    """The view's pixels. [rows · 32, columns · 32, 3]"""
    placed = scenes.any_placement(Random(f"{grid}/{view.concept}/{view.placement}"))
    style, concept = STYLES[STYLE_NAMES[view.style]], CONCEPTS[view.concept]
    with Image.open(work / "cutouts" / style.source / f"{concept.key}.png") as cutout:
        return scenes.compose(
            cutout,
            BACKGROUNDS[COLOUR_NAMES[view.colour]],
            width=grid[1] * PIXELS,
            height=grid[0] * PIXELS,
            scale=placed.scale,
            dx=placed.dx,
            dy=placed.dy,
        )


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] as RGB in [-1, 1]. [3, H, W]"""
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def latents_file(work: Path, grid: tuple[int, int]) -> Path:
    """Where a grid's latents lie: float16 [N, 128, rows, columns], in `views_on` order."""
    return work / "latents" / f"{grid[0]}x{grid[1]}.npy"


def not_encoded(work: Path) -> list[tuple[int, int]]:
    """The grids whose latents do not lie there, or are those of fewer views or more."""
    counts = {grid: len(list(views_on(grid))) for grid in grids()}
    return [grid for grid in counts if _how_many(latents_file(work, grid)) != counts[grid]]


def _how_many(file: Path) -> int:
    return len(np.load(file, mmap_mode="r")) if file.exists() else 0


def encode_share(rank: int, processes: int, work: Path) -> None:
    """One process's share of the latents that are missing, by the trained autoencoder."""
    model = autoencoder.trained(work)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    encode(rank, processes, work, model)


@torch.inference_mode()
def encode(rank: int, processes: int, work: Path, model: Autoencoder) -> None:
    """One process's share of the latents that are missing, written beside the others' shares."""
    for grid in not_encoded(work):
        views = list(views_on(grid))
        file = latents_file(work, grid)
        file.parent.mkdir(exist_ok=True)
        shape = (len(views), MINI.transformer.in_channels, *grid)
        array = np.lib.format.open_memmap(
            file.with_suffix(f".{rank}.npy"), mode="w+", dtype=np.float16, shape=shape
        )
        mine = range(rank, len(views), processes)
        for start in range(0, len(mine), 8):
            chosen = mine[start : start + 8]
            pixels = torch.stack([to_tensor(picture(work, views[i], grid)) for i in chosen])
            latents = model.encode(pixels.contiguous(memory_format=torch.channels_last))
            array[list(chosen)] = latents.numpy()
        array.flush()


def join(work: Path, processes: int) -> None:
    """The processes' shares become one file a grid."""
    for grid in not_encoded(work):
        file = latents_file(work, grid)
        parts = [file.with_suffix(f".{rank}.npy") for rank in range(processes)]
        whole = np.load(parts[0])
        for rank, part in enumerate(parts[1:], 1):
            whole[rank::processes] = np.load(part)[rank::processes]
        partial = file.with_suffix(".partial.npy")  # what has its name is whole
        np.save(partial, whole)
        partial.replace(file)
        for part in parts:
            part.unlink()
