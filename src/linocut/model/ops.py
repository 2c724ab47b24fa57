"""The small operations between the matrix products, as functions.

B batch   L tokens   C channels   H heads   D channels of a head   A axes (time, row, column, word)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rotary:
    """Cosines and sines of every token's angles, fp32, [L, D / 2] each."""

    cos_LD: Tensor
    sin_LD: Tensor


def sinusoid(value_B: Tensor, channels: int, *, max_period: float = 10000.0) -> Tensor:
    """Cosines then sines of `value` at `channels / 2` falling frequencies. fp32 [B, channels]

    f_j = max_period^(-j / half). Source: "Attention Is All You Need", section 3.5, in the order
    that FLUX uses.
    """
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=value_B.device)
    frequencies = torch.exp(-torch.log(torch.tensor(max_period)) * steps / half)
    angles = value_B.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), -1)


def rotary_table(at_LA: Tensor, axes: tuple[int, ...], theta: float) -> Rotary:
    """The rotation of each token's channel pairs, one block of channels per axis.

    at_LA: integer positions. Angles are formed in fp64 and rounded once to fp32.
    Source: RoFormer (arXiv 2104.09864), with adjacent pairs; ω_i = theta^(-2i / axis).
    """
    angles = []
    for axis, channels in enumerate(axes):
        exponent = torch.arange(0, channels, 2, dtype=torch.float64, device=at_LA.device)
        frequencies = theta ** -(exponent / channels)
        angles.append(at_LA[:, axis].to(torch.float64)[:, None] * frequencies)
    angle_LD = torch.cat(angles, -1)
    return Rotary(angle_LD.cos().float(), angle_LD.sin().float())


def rotate(x_BHLD: Tensor, rotary: Rotary) -> Tensor:
    """Each adjacent pair of channels turned by its token's angle; fp32 inside, dtype kept."""
    even, odd = x_BHLD.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary.cos_LD, rotary.sin_LD
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1)
    return turned.flatten(-2).to(x_BHLD.dtype)


def modulated_norm(x_BLC: Tensor, shift_B1C: Tensor, scale_B1C: Tensor, eps: float) -> Tensor:
    """(1 + scale) · LayerNorm(x) + shift, without learned affine. [B, L, C]"""
    return torch.addcmul(shift_B1C, F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=eps), 1 + scale_B1C)


def gated_silu(x_BLC: Tensor) -> Tensor:
    """SiLU(first half) · second half. [B, L, 2C] -> [B, L, C]. SwiGLU, arXiv 2002.05202"""
    gate, value = x_BLC.chunk(2, -1)
    return F.silu(gate) * value
