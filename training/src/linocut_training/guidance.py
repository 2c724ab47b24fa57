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
# Of edits at a guidance of 1, which is cheaper: up to the twelfth edition it was a quarter.
PLAIN_SHARE: Final = 0.5
# Of what is new: the two answers more that guidance asks for make a picture two thirds dearer, and
# small things, which were learned at 1 alone, are drawn under guidance all the same. Up to the
# twelfth edition it was a quarter as well.
NEW_PLAIN_SHARE: Final = 0.6
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
def own(learner: Velocity, rows: Rows, others: Rows, scale_B: Tensor) -> Tensor:
    """What guidance adds to the velocity of pictures that no teacher knows, by the learner itself.

    Its own answers at a guidance of 1, of the captions over `others`: none, or the same in another
    style; as far as it is by then (arXiv 2502.12154). Poorer ones of its own are not to be had.
    """
    plain_B = torch.ones_like(scale_B)
    return OWN_SHARE * _above_one(scale_B) * (learner(rows, plain_B) - learner(others, plain_B))


def scales(count: int, generator: torch.Generator, *, plain_share: float = 0) -> Tensor:
    """Mostly 1 to 6, where people draw; one in five from the API's whole range, 0 to 10. [B]

    plain_share: so many are 1, which the guidance of what no teacher knows is made of.
    """
    usual = 1 + 5 * torch.rand(count, generator=generator)
    whole = 10 * torch.rand(count, generator=generator)
    scale_B = torch.where(torch.rand(count, generator=generator) < 0.2, whole, usual)
    is_one = torch.rand(count, generator=generator) < plain_share
    return torch.where(is_one, 1.0, scale_B)


def _above_one(scale_B: Tensor) -> Tensor:
    return (scale_B - 1)[:, None, None, None]
