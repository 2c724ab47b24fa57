"""Recognition, taught: what a reference shows, and what a picture is to show, can be read inside.

From pictures alone the network is slow to learn what stands in a reference: the noise of most
pictures says more, and an error in shape is small beside one in place or colour. So two linear
readers name the thing, one by the tokens of the reference and one by those of the picture, and
what they get wrong is an error of the network, too. The second reads pictures that captions ask for
as well, so that what a name says and what a reference shows may become one thing inside. Readers
are part of the training alone; what came of them: docs/decisions, 12. (Representations taught
beside a diffusion model's velocity: REPA, arXiv 2410.06940, which has features of another network
where there are names here.)

B batch   C channels   L tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linocut.catalog import MINI
from linocut_training.concepts import CONCEPTS

UNKNOWN: Final = -1  # not said, or put together of tiles, which may be several
RATE: Final = 3e-3  # from the first step to the last: readers follow the network
DECAY: Final = 0.01


class Readers(nn.Module):
    """Name the thing by the mean of some tokens. Zero at first, so that they teach nothing yet."""

    def __init__(self) -> None:
        super().__init__()
        width = MINI.transformer.hidden_size
        self.given, self.shown = (nn.Linear(width, len(CONCEPTS)) for _ in range(2))
        for reader in (self.given, self.shown):
            nn.init.zeros_(reader.weight)
            nn.init.zeros_(reader.bias)


def optimiser(readers: Readers) -> torch.optim.Optimizer:
    """What the readers learn with, beside the network."""
    return torch.optim.AdamW(readers.parameters(), RATE, weight_decay=DECAY)


def error(reader: nn.Module, tokens_BLC: Tensor, things: Sequence[int]) -> Tensor:
    """Cross entropy of the things' names, the mean of those that are known; 0 where none is.

    things: by their number among all; UNKNOWN where there is no telling.
    """
    mean_BC = _normed(_normed(tokens_BLC.float()).mean(1))
    told_B = torch.tensor(things, device=tokens_BLC.device)
    wrong = F.cross_entropy(reader(mean_BC), told_B, ignore_index=UNKNOWN, reduction="sum")
    return wrong / max(1, len(things) - list(things).count(UNKNOWN))


def _normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])
