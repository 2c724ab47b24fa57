"""From noise to a picture: bind what stays the same, then walk down the noise levels.

B batch   L tokens   C channels   N steps
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from linocut.model.transformer import Transformer
from linocut.sampling.tokens import Tokens

Velocity = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class DenoiseStep:
    """After step `index`: the tokens at noise level `level`, and where they were heading."""

    index: int
    level: float
    x_BLC: Tensor
    velocity_BLC: Tensor

    def clean(self) -> Tensor:
        """What the picture would be if the velocity stayed as it is: x - t v. [B, L, C]"""
        return self.x_BLC - self.level * self.velocity_BLC


@torch.inference_mode()
def bind(
    model: Transformer,
    drawn: Tokens,
    *,
    text: Tokens,
    references: Tokens | None,
    guidance: float,
    levels: Sequence[float],
) -> Velocity:
    """The model as a function of the tokens and the step; all else is computed here, once.

    drawn: the tokens to be drawn, of which only the positions matter. levels: the noise levels at
    which the velocity will be asked for. The function returned takes fp32 tokens [B, L, C] and a
    step's number, and gives their fp32 velocity.
    """
    weight = model.img_in.weight
    txt_BTC = model.txt_in(text.x_BLC.to(weight.dtype))
    at_LA = torch.cat((text.at_LA, drawn.at_LA))
    fixed_BLC = None
    if references is not None:
        fixed_BLC = model.img_in(references.x_BLC.to(weight.dtype))
        at_LA = torch.cat((at_LA, references.at_LA))
    rotary = model.rotary(at_LA)
    level_N = torch.tensor(levels, dtype=torch.float32, device=weight.device)
    guidance_N = torch.full_like(level_N, guidance) if model.config.guidance_embedding else None
    modulation = model.modulation(level_N, guidance_N)

    def velocity(x_BLC: Tensor, step: int) -> Tensor:
        img_BLC = model.img_in(x_BLC.to(weight.dtype))
        if fixed_BLC is not None:
            img_BLC = torch.cat((img_BLC, fixed_BLC), 1)
        result: Tensor = model(img_BLC, txt_BTC, rotary=rotary, modulation=modulation.at(step))
        return result[:, : x_BLC.shape[1]].float()

    return velocity


@torch.inference_mode()
def denoise(
    velocity: Velocity, noise_BLC: Tensor, levels: Sequence[float]
) -> Iterator[DenoiseStep]:
    """Walk tokens down `levels`, one Euler step a `next()`; to cancel, stop calling.

    x ← x + (t' - t) v(x, t), kept in fp32 whatever the model computes in.
    """
    x_BLC = noise_BLC
    for index, (level, lower) in enumerate(pairwise(levels)):
        velocity_BLC = velocity(x_BLC, index)
        x_BLC = x_BLC + (lower - level) * velocity_BLC
        yield DenoiseStep(index, lower, x_BLC, velocity_BLC)
