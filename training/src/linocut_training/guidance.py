"""Guidance, distilled: what one forward pass has to learn so that it does the work of several.

With a guidance of w, the velocity of the caption is moved (w - 1) times by what distinguishes it
from two poorer answers: the same network's without the caption (classifier-free guidance, arXiv
2207.12598), which brings out what was asked for, and the same caption's by the network as it was
earlier in its training (autoguidance, arXiv 2406.02507), which sharpens what both know. A network
that has learned this then teaches a copy of itself to move away from the same thing in the style
that its own is taken for: no words have no style, and so do not tell one from the other.

B batch
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

Rows = list[list[int]]  # the token ids of each caption
Velocity = Callable[[Rows, Tensor], Tensor]  # of captions, with a guidance each: [B]

STYLE_SHARE: Final = 0.5  # of (w - 1), by which another style is left
OWN_SHARE: Final = 0.75  # of (w - 1), by which what no teacher knows is brought out
PLAIN_SHARE: Final = 0.25
SEEN_SHARE: Final = 0.5  # of (w - 1), by which an edit brings out what its reference shows
SEEN_MOST: Final = 5.0  # of w, for that
STYLE_MOST: Final = 3.0  # of w: twice as far, and flat pictures begin to be taken for stickers


def change(teacher: Velocity, weaker: Velocity, rows: Rows, empty: Rows, scale_B: Tensor) -> Tensor:
    """What guidance adds to the velocity: the teacher's, over the mean of the two poorer ones."""
    plain_B = torch.ones_like(scale_B)
    poorer = (teacher(empty, plain_B) + weaker(rows, plain_B)) / 2
    return _above_one(scale_B) * (teacher(rows, plain_B) - poorer)


def styled(guided: Velocity, rows: Rows, others: Rows, scale_B: Tensor) -> Tensor:
    """The velocity of a guided network, away from `others`: the captions in another style."""
    asked = guided(rows, scale_B)
    push = STYLE_SHARE * _above_one(scale_B.clamp(1, STYLE_MOST))
    # Guidance has both answers differ by more; the push is to be what it is at STYLE_MOST.
    push = push * (STYLE_MOST / scale_B.clamp(min=STYLE_MOST))[:, None, None, None]
    return asked + push * (asked - guided(others, scale_B))


@torch.no_grad()
def own(learner: Velocity, rows: Rows, empty: Rows, scale_B: Tensor) -> Tensor:
    """What guidance adds to the velocity of pictures that no teacher knows, by the learner itself.

    Its own answers at a guidance of 1, with the caption over without, as far as it is by then
    (arXiv 2502.12154). Poorer ones of its own are not to be had.
    """
    plain_B = torch.ones_like(scale_B)
    return OWN_SHARE * _above_one(scale_B) * (learner(rows, plain_B) - learner(empty, plain_B))


def beside(seeing: Tensor, blind: Tensor, scale_B: Tensor) -> Tensor:
    """What guidance adds to the velocity of an edit: a teacher's answers, at a guidance of 1.

    The one beside the reference, over the one without it, brings out what the picture shows (arXiv
    2211.09800, where that is done while drawing). seeing, blind: the teacher's velocities with the
    references and without.
    """
    push = SEEN_SHARE * _above_one(scale_B.clamp(1, SEEN_MOST))
    return push * (seeing - blind)


def scales(count: int, generator: torch.Generator, *, is_new: bool = False) -> Tensor:
    """Mostly 1 to 6, where people draw; one in five from the API's whole range, 0 to 10. [B]

    is_new: one in four is 1, which the guidance of what no teacher knows is made of.
    """
    usual = 1 + 5 * torch.rand(count, generator=generator)
    whole = 10 * torch.rand(count, generator=generator)
    scale_B = torch.where(torch.rand(count, generator=generator) < 0.2, whole, usual)
    is_one = torch.rand(count, generator=generator) < (PLAIN_SHARE if is_new else 0)
    return torch.where(is_one, 1.0, scale_B)


def _above_one(scale_B: Tensor) -> Tensor:
    return (scale_B - 1)[:, None, None, None]
