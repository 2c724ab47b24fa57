"""Noise from a seed: a promise that holds on every machine."""

from __future__ import annotations

import torch
from torch import Tensor

SEEDS = 2**64


def draw(seed: int, channels: int, rows: int, columns: int, *, index: int = 0) -> Tensor:
    """Unit Gaussian noise of picture `index` of a request. fp32 [1, channels, rows, columns]

    Always from PyTorch's CPU generator, so that diffusers with such a generator draws the same.
    """
    generator = torch.Generator("cpu").manual_seed((seed + index) % SEEDS)
    return torch.randn((1, channels, rows, columns), generator=generator)
