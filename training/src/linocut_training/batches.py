"""What a step of the transformer's training learns from: latents, their words, and references."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linocut_training import captions, views
from linocut_training.concepts import CONCEPTS, RIVALS
from linocut_training.plans import Plan

WHITE_SHARE = 1 / 3  # of the backgrounds: it is what a caption without one means
EMPTY_SHARE = 0.1  # captions left out, so that "no caption" is known too
# Of a concept's placements on the square grid: words do not say where a thing stands, and a network
# that has to average over many places draws soft edges. References show where: edits have them all.
ASKED_PLACEMENTS = 2
RIVAL = [views.STYLE_NAMES.index(RIVALS.get(style, style)) for style in views.STYLE_NAMES]


@dataclass(frozen=True, slots=True)
class Batch:
    """Clean latents, their captions, and references that stand on the same grid.

    others: the captions as they would ask for the style that theirs is taken for, if it is.
    """

    clean_BCHW: Tensor
    captions: list[str]
    others: list[str]
    reference_BCHW: Tensor | None

    def to(self, device: str) -> Batch:
        """The same on a device."""
        reference = None if self.reference_BCHW is None else self.reference_BCHW.to(device)
        return replace(self, clean_BCHW=self.clean_BCHW.to(device), reference_BCHW=reference)


class Source:
    """Batches of views, by step and rank alone: the same step always gives the same batch."""

    def __init__(self, work: Path, plan: Plan) -> None:
        if views.not_encoded(work):
            raise ValueError(f"{work / 'latents'} has other views' latents: encode the views first")
        self.plan = plan
        self.grids = views.grids()
        self.latents = [np.load(views.latents_file(work, g), mmap_mode="r") for g in self.grids]
        self.views = [list(views.views_on(grid)) for grid in self.grids]
        self.square = {view: index for index, view in enumerate(self.views[0])}
        self.asked = [_asked(of) for of in self.views]

    def batch(self, step: int, rank: int) -> Batch:
        """One process's batch of a step; all processes draw the same kind."""
        kind = random.Random(f"{self.plan.seed}/{step}")
        mine = random.Random(f"{self.plan.seed}/{step}/{rank}")
        share = kind.random()
        if share < self.plan.edit_share:
            return self._edits(mine)
        grid = 0
        if share < self.plan.edit_share + self.plan.other_share:
            grid = kind.randrange(1, len(self.grids))
        return self._captioned(grid, mine)

    def _captioned(self, grid: int, rng: random.Random) -> Batch:
        white, coloured = self.asked[grid]
        chosen, asked = [], []
        for _ in range(self.plan.batch):
            index = rng.choice(white if rng.random() < WHITE_SHARE else coloured)
            chosen.append(index)
            view = self.views[grid][index]
            say = partial(captions.caption, CONCEPTS[view.concept])
            asked.append(_in_two_styles(say, view, RIVAL[view.style], rng))
        words, others = _some_empty(asked, rng)
        return Batch(self._take(grid, chosen), words, others, None)

    def _edits(self, rng: random.Random) -> Batch:
        targets, references, asked = [], [], []
        for _ in range(self.plan.batch):
            wanted = replace(rng.choice(self.views[0]), colour=_any_colour(rng))
            kind: captions.EditKind
            if rng.random() < 0.6:
                kind = "background"
                given = replace(wanted, colour=_any_colour(rng, besides=wanted.colour))
            else:
                kind = "style"
                given = replace(wanted, style=_another_style(wanted.style, rng))
            targets.append(self.square[wanted])
            references.append(self.square[given])
            say = partial(captions.instruction, kind, CONCEPTS[wanted.concept])
            asked.append(_in_two_styles(say, wanted, RIVAL[wanted.style], rng))
        words, others = _some_empty(asked, rng)
        return Batch(self._take(0, targets), words, others, self._take(0, references))

    def _take(self, grid: int, indices: list[int]) -> Tensor:
        return torch.from_numpy(self.latents[grid][indices].astype(np.float32))


def _asked(of: list[views.View]) -> tuple[list[int], list[int]]:
    """Where the pictures that captions ask for are among a grid's views: on white, on a colour."""
    here = [index for index, view in enumerate(of) if view.placement < ASKED_PLACEMENTS]
    white = [index for index in here if of[index].colour == views.WHITE]
    return white, [index for index in here if of[index].colour != views.WHITE]


def _any_colour(rng: random.Random, besides: int | None = None) -> int:
    if besides != views.WHITE and rng.random() < WHITE_SHARE:
        return views.WHITE
    return rng.choice([colour for colour in views.COLOURED if colour != besides])


def _another_style(style: int, rng: random.Random) -> int:
    return rng.choice([other for other in range(len(views.STYLE_NAMES)) if other != style])


def _in_two_styles(
    say: Callable[[str, str, random.Random], str], view: views.View, other: int, rng: random.Random
) -> tuple[str, str]:
    """The words for a view, and the same in that style, as far as they speak of style."""
    seed, colour = rng.random(), views.COLOUR_NAMES[view.colour]
    asked, instead = (
        say(views.STYLE_NAMES[style], colour, random.Random(seed)) for style in (view.style, other)
    )
    return asked, instead


def _some_empty(asked: list[tuple[str, str]], rng: random.Random) -> tuple[list[str], list[str]]:
    kept = [("", "") if rng.random() < EMPTY_SHARE else each for each in asked]
    return [words for words, _ in kept], [other for _, other in kept]
