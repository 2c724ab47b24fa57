"""The velocity network of FLUX.2: a transformer over text and picture tokens.

B batch   L tokens   T text tokens   C channels   H heads   D channels of a head   N steps

Parameter names are those of the published single file (299 tensors for dev; q, k, v fused).
Source: the FLUX.2 [dev] model card and its published reference; no biases, no learned norm affine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linocut.catalog import TransformerConfig
from linocut.model import attention, ops
from linocut.model.ops import Rotary

SINUSOID_SCALE = 1000.0  # timestep and guidance are both multiplied by it before the sinusoid


@dataclass(frozen=True, slots=True)
class Modulation:
    """Shift, scale and gate of every layer, for N (timestep, guidance) pairs at once.

    image, text: [N, 6, C] (attention's three, then the MLP's three); single: [N, 3, C];
    final: [N, 2, C] (shift, scale).
    """

    image_N6C: Tensor
    text_N6C: Tensor
    single_N3C: Tensor
    final_N2C: Tensor

    def at(self, step: int) -> Modulation:
        """The modulation of one pair, still with its leading dimension, now 1."""
        one = slice(step, step + 1)
        return Modulation(
            self.image_N6C[one], self.text_N6C[one], self.single_N3C[one], self.final_N2C[one]
        )


class Transformer(nn.Module):
    """Velocity of the picture tokens, given the text, the references and the noise level."""

    def __init__(
        self, config: TransformerConfig, attend: attention.Attention = attention.fused
    ) -> None:
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.img_in = _linear(config.in_channels, width)
        self.txt_in = _linear(config.context_channels, width)
        self.time_in = Embedder(config.time_channels, width)
        if config.guidance_embedding:
            self.guidance_in = Embedder(config.time_channels, width)
        self.double_stream_modulation_img = SharedModulation(width, 6)
        self.double_stream_modulation_txt = SharedModulation(width, 6)
        self.single_stream_modulation = SharedModulation(width, 3)
        self.double_blocks = nn.ModuleList(
            DoubleBlock(config, attend) for _ in range(config.num_double_blocks)
        )
        self.single_blocks = nn.ModuleList(
            SingleBlock(config, attend) for _ in range(config.num_single_blocks)
        )
        self.final_layer = FinalLayer(config)

    def modulation(self, timestep_N: Tensor, guidance_N: Tensor | None) -> Modulation:
        """What the noise level and the guidance do to every layer, in one product each.

        timestep_N: 1 is pure noise, 0 the picture. guidance_N: as the user says it (4.0); None
        exactly where the configuration has no guidance embedding.
        """
        dtype = self.img_in.weight.dtype
        channels = self.config.time_channels
        vec = self.time_in(ops.sinusoid(timestep_N * SINUSOID_SCALE, channels).to(dtype))
        if self.config.guidance_embedding:
            assert guidance_N is not None
            scaled = ops.sinusoid(guidance_N * SINUSOID_SCALE, channels).to(dtype)
            vec = vec + self.guidance_in(scaled)
        vec = F.silu(vec)
        return Modulation(
            self.double_stream_modulation_img(vec),
            self.double_stream_modulation_txt(vec),
            self.single_stream_modulation(vec),
            self.final_layer.adaLN_modulation[1](vec).unflatten(-1, (2, -1)),
        )

    def rotary(self, at_LA: Tensor) -> Rotary:
        """The rotary tables of tokens at integer positions [L, 4], text first."""
        return ops.rotary_table(at_LA, self.config.axes, self.config.rope_theta)

    def forward(
        self, img_BLC: Tensor, txt_BTC: Tensor, *, rotary: Rotary, modulation: Modulation
    ) -> Tensor:
        """Velocity of every picture token. [B, L, in_channels]

        img_BLC, txt_BTC: tokens already projected by `img_in` and `txt_in`, so that what does not
        change between steps (text, references) is projected once.
        """
        for block in self.double_blocks:
            img_BLC, txt_BTC = block(img_BLC, txt_BTC, rotary, modulation)
        x_BLC = torch.cat((txt_BTC, img_BLC), 1)
        single = _parts(modulation.single_N3C)
        for block in self.single_blocks:
            x_BLC = block(x_BLC, rotary, single)
        result: Tensor = self.final_layer(x_BLC[:, txt_BTC.shape[1] :], modulation.final_N2C)
        return result


class Embedder(nn.Module):
    """Two products around a SiLU: a sinusoid becomes a conditioning vector. [N, C]"""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.in_layer = _linear(channels, width)
        self.out_layer = _linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.out_layer(F.silu(self.in_layer(x)))
        return result


class SharedModulation(nn.Module):
    """One product that serves all blocks of a kind: [N, C] -> [N, parts, C]."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.lin = _linear(width, parts * width)

    def forward(self, vec: Tensor) -> Tensor:
        result: Tensor = self.lin(vec).unflatten(-1, (self.parts, -1))
        return result


class Scale(nn.Module):
    """RMSNorm over a head's channels with a learned scale. arXiv 1910.07467"""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, self.scale.to(x.dtype), self.eps)


class QueryKeyNorm(nn.Module):
    """The norms of a stream's queries and keys."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.query_norm = Scale(channels, eps)
        self.key_norm = Scale(channels, eps)


class StreamAttention(nn.Module):
    """One stream's side of the joint attention: its products and norms."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv = _linear(config.hidden_size, 3 * config.hidden_size)
        self.norm = QueryKeyNorm(config.head_dim, config.eps)
        self.proj = _linear(config.hidden_size, config.hidden_size)

    def heads(self, x_BLC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normed queries, normed keys and values. [B, H, L, D] each"""
        return _heads(self.qkv(x_BLC), self.num_heads, self.norm)


class DoubleBlock(nn.Module):
    """Text and picture with weights of their own, attending jointly; then an MLP each."""

    def __init__(self, config: TransformerConfig, attend: attention.Attention) -> None:
        super().__init__()
        self.eps = config.eps
        self.attend = attend
        self.img_attn = StreamAttention(config)
        self.txt_attn = StreamAttention(config)
        self.img_mlp = _mlp(config)
        self.txt_mlp = _mlp(config)

    def forward(
        self, img_BLC: Tensor, txt_BTC: Tensor, rotary: Rotary, modulation: Modulation
    ) -> tuple[Tensor, Tensor]:
        image, text = _parts(modulation.image_N6C), _parts(modulation.text_N6C)
        img_qkv = self.img_attn.heads(ops.modulated_norm(img_BLC, image[0], image[1], self.eps))
        txt_qkv = self.txt_attn.heads(ops.modulated_norm(txt_BTC, text[0], text[1], self.eps))
        q, k, v = (torch.cat(pair, 2) for pair in zip(txt_qkv, img_qkv, strict=True))
        seen = self.attend(ops.rotate(q, rotary), ops.rotate(k, rotary), v)
        seen_BLC = seen.transpose(1, 2).flatten(2)
        txt_seen, img_seen = seen_BLC.split((txt_BTC.shape[1], img_BLC.shape[1]), 1)
        img_BLC = torch.addcmul(img_BLC, image[2], self.img_attn.proj(img_seen))
        txt_BTC = torch.addcmul(txt_BTC, text[2], self.txt_attn.proj(txt_seen))
        img_BLC = _feed_forward(img_BLC, self.img_mlp, image[3:], self.eps)
        txt_BTC = _feed_forward(txt_BTC, self.txt_mlp, text[3:], self.eps)
        return img_BLC, txt_BTC


class SingleBlock(nn.Module):
    """All tokens in one stream; attention and MLP side by side, one residual."""

    def __init__(self, config: TransformerConfig, attend: attention.Attention) -> None:
        super().__init__()
        self.eps = config.eps
        self.num_heads = config.num_heads
        self.attend = attend
        width, mlp = config.hidden_size, config.mlp_size
        self.split = (3 * width, 2 * mlp)
        self.linear1 = _linear(width, 3 * width + 2 * mlp)
        self.linear2 = _linear(width + mlp, width)
        self.norm = QueryKeyNorm(config.head_dim, config.eps)

    def forward(self, x_BLC: Tensor, rotary: Rotary, modulation: tuple[Tensor, ...]) -> Tensor:
        shift, scale, gate = modulation
        qkv, mlp = self.linear1(ops.modulated_norm(x_BLC, shift, scale, self.eps)).split(
            self.split, -1
        )
        q, k, v = _heads(qkv, self.num_heads, self.norm)
        seen = self.attend(ops.rotate(q, rotary), ops.rotate(k, rotary), v)
        both = torch.cat((seen.transpose(1, 2).flatten(2), ops.gated_silu(mlp)), -1)
        return torch.addcmul(x_BLC, gate, self.linear2(both))


class FinalLayer(nn.Module):
    """The last modulated norm and the product back to token channels."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.linear = _linear(config.hidden_size, config.in_channels)
        self.adaLN_modulation = nn.Sequential(
            nn.SiLU(), _linear(config.hidden_size, 2 * config.hidden_size)
        )

    def forward(self, x_BLC: Tensor, modulation_B2C: Tensor) -> Tensor:
        shift, scale = _parts(modulation_B2C)
        result: Tensor = self.linear(ops.modulated_norm(x_BLC, shift, scale, self.eps))
        return result


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def _mlp(config: TransformerConfig) -> nn.Sequential:
    # The activation sits at index 1, so that the products have the published names .0 and .2.
    return nn.Sequential(
        _linear(config.hidden_size, 2 * config.mlp_size),
        GatedSilu(),
        _linear(config.mlp_size, config.hidden_size),
    )


class GatedSilu(nn.Module):
    """`ops.gated_silu` with a place in a `Sequential`."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.gated_silu(x)


def _parts(modulation_NPC: Tensor) -> tuple[Tensor, ...]:
    return modulation_NPC.unsqueeze(2).unbind(1)


def _heads(qkv_BLC: Tensor, num_heads: int, norm: QueryKeyNorm) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv_BLC.unflatten(-1, (3, num_heads, -1)).permute(2, 0, 3, 1, 4)
    return norm.query_norm(q), norm.key_norm(k), v


def _feed_forward(
    x_BLC: Tensor, mlp: nn.Module, modulation: tuple[Tensor, ...], eps: float
) -> Tensor:
    shift, scale, gate = modulation
    return torch.addcmul(x_BLC, gate, mlp(ops.modulated_norm(x_BLC, shift, scale, eps)))
