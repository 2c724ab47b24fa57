"""Guidance, distilled: what one forward pass has to learn so that it does the work of three.

With a guidance of w, the velocity of the caption is moved (w - 1) times by what distinguishes it
from two poorer answers: the same network's without the caption (classifier-free guidance, arXiv
2207.12598), which brings out what was asked for, and the same caption's by the network as it was
earlier in its training (autoguidance, arXiv 2406.02507), which sharpens what both know.

B batch
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Rows = list[list[int]]  # the token ids of each caption
Velocity = Callable[[Rows], Tensor]


def change(teacher: Velocity, weaker: Velocity, rows: Rows, empty: Rows) -> Tensor:
    """What the teacher's answer has over the mean of the two poorer ones; shaped like them."""
    return teacher(rows) - (teacher(empty) + weaker(rows)) / 2


def scales(count: int, generator: torch.Generator) -> Tensor:
    """Mostly 1 to 6, where people draw; one in five from the API's whole range, 0 to 10. [B]"""
    usual = 1 + 5 * torch.rand(count, generator=generator)
    whole = 10 * torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.2, whole, usual)
