"""What the transformer learns from: latents of every concept in every style, encoded once.

A view is one concept, style, placement and background on one grid of tokens: about 150 of a
concept. On the square grid every placement of a concept has some backgrounds, and these in every
style, so that two views that differ in one thing make an edit: (reference, instruction, target). On
a wider or taller grid, which some of the concepts have, the square picture stands in the middle,
token by token, and its background goes on beside it: what is learned of a thing on one grid is true
on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from linocut.catalog import MINI
from linocut.model.autoencoder import Autoencoder
from linocut.sizes import ASPECT_RATIOS
from linocut_training import autoencoder, parallel, scenes
from linocut_training.captions import gradient_name
from linocut_training.concepts import (
    BACKGROUNDS,
    CONCEPTS,
    DEFAULT_BACKGROUND,
    DRAWN,
    STYLES,
)

Grid = tuple[int, int]  # rows, columns
V = TypeVar("V")

PIXELS = MINI.autoencoder.pixels_per_token
SQUARE = (8, 8)
PLACEMENTS = 3
COLOURS = 5  # of a placement on the square grid, white among them
GRADIENTS = 1  # of a placement there: backgrounds that run from one colour to another
SMALLER = ((6, 8), (8, 6), (6, 6))  # requests of 192 pixels lie on grids of their own
CONCEPTS_OF_RATIOS = 0.3  # of all, on each of the grids of the API's ratios
COLOURS_OF_RATIOS = 2  # white and another one
CONCEPTS_ELSEWHERE = 0.12  # on each of the rare grids
STYLES_ELSEWHERE = 2  # of those that are drawn, with one background
INSIDE = 3  # a column of tokens that sees no border of a canvas
# Of a concept's placements on the square grid: words do not say where a thing stands, and a network
# that has to average over many places draws soft edges. References show where: edits have them all.
ASKED_PLACEMENTS = 2
WHITE_SHARE = 1 / 3  # of the backgrounds: it is what a caption without one means
COLOUR_NAMES = tuple(BACKGROUNDS)
WHITE = COLOUR_NAMES.index(DEFAULT_BACKGROUND)
COLOURED = tuple(colour for colour in range(len(COLOUR_NAMES)) if colour != WHITE)
# Top and bottom of every gradient; as backgrounds they come after the colours.
ENDS = tuple(permutations(range(len(COLOUR_NAMES)), 2))
BACKGROUND_NAMES = COLOUR_NAMES + tuple(
    gradient_name(COLOUR_NAMES[top], COLOUR_NAMES[bottom]) for top, bottom in ENDS
)
STYLE_NAMES = tuple(STYLES)


@dataclass(frozen=True, slots=True)
class View:
    """One picture to encode, by its indices; `placement` counts within its concept and grid.

    colour: among BACKGROUND_NAMES, a plain one or a gradient.
    """

    concept: int
    style: int
    placement: int
    colour: int


def grids_of_ratios() -> tuple[Grid, ...]:
    """The square grid first, then the others that the API's ratios are drawn on."""
    return tuple(dict.fromkeys((SQUARE, *map(_grid_of, ASPECT_RATIOS.values()))))


def grids() -> tuple[Grid, ...]:
    """Those of the API's ratios, then every other that sides of 256 to 1024 px are drawn on."""
    short = SQUARE[0]
    longer = range(short + 1, MINI.most_tokens // short + 1)
    oblong = (grid for long in longer for grid in ((short, long), (long, short)))
    return tuple(dict.fromkeys((*grids_of_ratios(), *oblong, *SMALLER)))


def _grid_of(size: tuple[int, int]) -> Grid:
    width, height = MINI.drawn_size(*size)
    return height // PIXELS, width // PIXELS


def colours_on(grid: Grid, concept: int, style: int, placement: int) -> tuple[int, ...]:
    """The backgrounds that a placement in a style has on a grid, in ascending order; or none.

    Those of other grids are among the square's plain ones: a view there has its partner on the
    square.
    """
    if grid == SQUARE:
        rng = Random(f"{grid}/{concept}/{placement}/colours")
        plain = sorted((WHITE, *rng.sample(COLOURED, COLOURS - 1)))
        graded = rng.sample(range(len(COLOUR_NAMES), len(BACKGROUND_NAMES)), GRADIENTS)
        return (*plain, *sorted(graded))
    if placement or not _is_on(grid, concept):
        return ()
    rng = Random(f"{grid}/{concept}/{style}")
    coloured = [c for c in colours_on(SQUARE, concept, style, placement) if c in COLOURED]
    if grid in grids_of_ratios():
        return tuple(sorted((WHITE, *rng.sample(coloured, COLOURS_OF_RATIOS - 1))))
    if style not in Random(f"{grid}/{concept}").sample(range(len(DRAWN)), STYLES_ELSEWHERE):
        return ()
    return (WHITE if rng.random() < WHITE_SHARE else rng.choice(coloured),)


def _is_on(grid: Grid, concept: int) -> bool:
    share = CONCEPTS_OF_RATIOS if grid in grids_of_ratios() else CONCEPTS_ELSEWHERE
    return Random(f"{grid}/{concept}/is there").random() < share


def views_on(grid: Grid) -> Iterator[View]:
    """Every view of a grid, in a fixed order: concept, style, placement, colour."""
    for concept, style, placement in product(
        range(len(CONCEPTS)), range(len(STYLE_NAMES)), range(PLACEMENTS)
    ):
        for colour in colours_on(grid, concept, style, placement):
            yield View(concept, style, placement, colour)


def any_of(white: Sequence[int], coloured: Sequence[int], rng: Random) -> int:
    """One of those on white, in its share of all, or of the others; either may be empty."""
    if not white or not coloured:
        return rng.choice(white or coloured)
    return rng.choice(white if rng.random() < WHITE_SHARE else coloured)


def picture(work: Path, view: View, grid: Grid) -> NDArray[np.uint8]:
    """The view's pixels: its square picture, and the background beside it. [rows, columns, 3]"""
    anywhere = scenes.any_placement(Random(f"{SQUARE}/{view.concept}/{view.placement}"))
    placed = scenes.placed_as(STYLE_NAMES[view.style], anywhere)
    style, concept = STYLES[STYLE_NAMES[view.style]], CONCEPTS[view.concept]
    side, (height, width) = min(grid), (length * PIXELS for length in grid)
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    canvas[:] = scenes.background(BACKGROUND_NAMES[view.colour], width=width, height=height)
    # Whole tokens aside, so that the square's tokens are the same on every grid.
    top, left = ((length - side) // 2 * PIXELS for length in grid)
    square = canvas[top : top + side * PIXELS, left : left + side * PIXELS]
    square[:] = scenes.compose(
        cutout_of(work / "cutouts" / style.source / f"{concept.key}.png"),
        square,
        width=side * PIXELS,
        height=side * PIXELS,
        scale=placed.scale,
        dx=placed.dx,
        dy=placed.dy,
    )
    return canvas


@lru_cache(maxsize=8)  # a cut-out's views come one after the other
def cutout_of(file: Path) -> Image.Image:
    """A cut-out, premultiplied."""
    with Image.open(file) as cutout:
        return cutout.convert("RGBa")


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] as RGB in [-1, 1]. [3, H, W]"""
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def latents_file(work: Path, grid: Grid) -> Path:
    """Where a grid's latents lie: float16 [N, 128, rows, columns], in `views_on` order."""
    return work / "latents" / f"{grid[0]}x{grid[1]}.npy"


def not_encoded(work: Path) -> list[Grid]:
    """The grids whose latents do not lie there, or are those of fewer views or more."""
    counts = {grid: len(list(views_on(grid))) for grid in grids()}
    return [grid for grid in counts if _how_many(latents_file(work, grid)) != counts[grid]]


def _how_many(file: Path) -> int:
    return len(np.load(file, mmap_mode="r")) if file.exists() else 0


def encode_share(rank: int, processes: int, work: Path) -> None:
    """One process's share of the latents that are missing, by the trained autoencoder."""
    model = autoencoder.trained(work)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Half the time, and half a percent off: less than two pictures of a thing differ.
    with torch.autocast("cpu", torch.bfloat16, enabled=parallel.has_bf16()):
        encode(rank, processes, work, model)


@torch.inference_mode()
def encode(rank: int, processes: int, work: Path, model: Autoencoder) -> None:
    """One process's share of the latents that are missing, written beside the others' shares.

    Of the square grid and the smaller ones: the others are made of the square's (`spread`).
    """
    for grid in _drawn(not_encoded(work)):
        encode_into(
            latents_file(work, grid), partial(picture, work, grid=grid), list(views_on(grid)),
            model=model, rank=rank, processes=processes,
        )  # fmt: skip


def encode_into(
    file: Path, picture: Callable[[V], NDArray[np.uint8]], views: Sequence[V], *,
    model: Autoencoder, rank: int, processes: int,
) -> None:  # fmt: skip
    """One process's share of the views' latents, beside `file`; all have pictures of one size."""
    file.parent.mkdir(exist_ok=True)
    rows, columns = (length // PIXELS for length in picture(views[0]).shape[:2])
    array = np.lib.format.open_memmap(
        file.with_suffix(f".{rank}.npy"), mode="w+", dtype=np.float16,
        shape=(len(views), MINI.transformer.in_channels, rows, columns),
    )  # fmt: skip
    mine = range(rank, len(views), processes)
    for start in range(0, len(mine), 8):
        chosen = mine[start : start + 8]
        pixels = torch.stack([to_tensor(picture(views[number])) for number in chosen])
        latents = model.encode(pixels.contiguous(memory_format=torch.channels_last))
        array[list(chosen)] = latents.float().numpy()
    array.flush()


def join(work: Path, processes: int) -> None:
    """The processes' shares become one file a grid."""
    for grid in _drawn(not_encoded(work)):
        file = latents_file(work, grid)
        save(file, joined(file, processes))
        forget(file, processes)


def joined(file: Path, processes: int) -> NDArray[np.float16]:
    """The shares that `encode_into` left, as one array."""
    first, *others = _shares(file, processes)
    whole: NDArray[np.float16] = np.load(first)
    for rank, part in enumerate(others, 1):
        whole[rank::processes] = np.load(part)[rank::processes]
    return whole


def forget(file: Path, processes: int) -> None:
    """Delete the shares, now that what they were joined to is saved."""
    for part in _shares(file, processes):
        part.unlink()


def _shares(file: Path, processes: int) -> list[Path]:
    return [file.with_suffix(f".{rank}.npy") for rank in range(processes)]


@torch.inference_mode()
def spread(work: Path, model: Autoencoder) -> None:
    """The latents of wide and tall grids that are missing, made of the square's.

    A canvas of the background alone, with what the square differs by from a square of it. What is
    inside differed from twelve canvases encoded whole by 0.004 to 0.065, their variance being 0.8.
    """
    squares = np.load(latents_file(work, SQUARE), mmap_mode="r")
    numbers = {view: number for number, view in enumerate(views_on(SQUARE))}
    plain = backgrounds(model, SQUARE)
    for grid in not_encoded(work):
        views, behind = list(views_on(grid)), [evened(it) for it in backgrounds(model, grid)]
        latents = np.stack([behind[view.colour] for view in views])
        top, left = ((length - short) // 2 for length, short in zip(grid, SQUARE, strict=True))
        middle = latents[:, :, top : top + SQUARE[0], left : left + SQUARE[1]]
        for number, view in enumerate(views):
            middle[number] += thing_of(squares[numbers[view]], plain[view.colour])
        save(latents_file(work, grid), latents.astype(np.float16))


def backgrounds(model: Autoencoder, grid: Grid) -> list[NDArray[np.float32]]:
    """The latents of every plain background on a grid. [C, H, W] each"""
    height, width = (length * PIXELS for length in grid)
    canvas = np.empty((height, width, 3), dtype=np.uint8)
    latents = []
    for name in COLOUR_NAMES:
        canvas[:] = BACKGROUNDS[name]
        latents.append(model.encode(to_tensor(canvas)[None])[0].numpy())
    return latents


def evened(background: NDArray[np.float32]) -> NDArray[np.float32]:
    """An empty canvas whose first column is like those inside: it decodes to a stripe else."""
    even = background.copy()
    even[:, :, 0] = even[:, :, INSIDE]
    return even


def thing_of(square: NDArray[np.float16], plain: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a square picture differs by from its background alone.

    Its first column has the stripe of an empty canvas in some colours, and in others has not: it
    is held against both, and what differs by less is taken.
    """
    thing: NDArray[np.float32] = square - evened(plain)
    beside_stripe, first = square[:, :, 0] - plain[:, :, 0], thing[:, :, 0]
    is_nearer = np.square(beside_stripe).sum(0) < np.square(first).sum(0)
    thing[:, :, 0] = np.where(is_nearer, beside_stripe, first)
    return thing


def _drawn(some: Iterable[Grid]) -> list[Grid]:
    """Those grids whose views are not made of the square's."""
    return [grid for grid in some if grid == SQUARE or grid in SMALLER]


def save(file: Path, latents: NDArray[np.float16]) -> None:
    """Latents as a file that is whole, or not there."""
    partial = file.with_suffix(".partial.npy")  # what has its name is whole
    np.save(partial, latents)
    partial.replace(file)
