"""Tokens and where they stand.

B batch   L tokens   C channels   A axes: time, row, column, word
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FIRST_REFERENCE_TIME = 10
REFERENCE_TIME_STEP = 10


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token vectors and their integer positions, which the rotary tables are made from."""

    x_BLC: Tensor
    at_LA: Tensor

    def __len__(self) -> int:
        return int(self.at_LA.shape[0])

    def then(self, other: Tokens) -> Tokens:
        """These tokens, followed by the others."""
        return Tokens(torch.cat((self.x_BLC, other.x_BLC), 1), torch.cat((self.at_LA, other.at_LA)))


def picture_tokens(latent_BCHW: Tensor, *, time: int = 0) -> Tokens:
    """A latent's cells row by row, standing at (time, row, column, 0)."""
    rows, columns = latent_BCHW.shape[-2:]
    at_LA = torch.cartesian_prod(
        torch.tensor([time]), torch.arange(rows), torch.arange(columns), torch.tensor([0])
    )
    return Tokens(latent_BCHW.flatten(2).transpose(1, 2), at_LA.to(latent_BCHW.device))


def reference_tokens(latents: tuple[Tensor, ...]) -> Tokens | None:
    """All references one after another, the k-th at time 10 + 10 k; None without any."""
    tokens: Tokens | None = None
    for number, latent_BCHW in enumerate(latents):
        time = FIRST_REFERENCE_TIME + REFERENCE_TIME_STEP * number
        more = picture_tokens(latent_BCHW, time=time)
        tokens = tokens.then(more) if tokens else more
    return tokens


def text_tokens(context_BTC: Tensor) -> Tokens:
    """The context's rows, standing at (0, 0, 0, row), padding included."""
    at_TA = torch.zeros(context_BTC.shape[1], 4, dtype=torch.long, device=context_BTC.device)
    at_TA[:, 3] = torch.arange(context_BTC.shape[1])
    return Tokens(context_BTC, at_TA)


def to_latent(x_BLC: Tensor, rows: int, columns: int) -> Tensor:
    """Undoes `picture_tokens`. [B, C, rows, columns]"""
    return x_BLC.transpose(1, 2).reshape(*x_BLC.shape[::2], rows, columns)
