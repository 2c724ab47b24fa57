"""The picture autoencoder of FLUX.2: pictures to token latents and back.

B batch   C channels   H rows   W columns of pixels or cells

Parameter names are those of the published single file. Pictures are RGB in [-1, 1]; latents are
patched 2 x 2 into token channels and normalised by stored statistics, so that they look like
unit Gaussian noise to the transformer.
Source: a KL autoencoder (arXiv 2112.10752) as FLUX.2 publishes it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linocut.catalog import AutoencoderConfig


class Autoencoder(nn.Module):
    """Encoder, decoder and the statistics between them."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.bn = LatentStatistics(config.token_channels, config.batch_norm_eps)

    def encode(self, picture_BCHW: Tensor) -> Tensor:
        """Normalised token latents: the posterior's mean, never a sample. [B, tokenC, H/p, W/p]

        picture_BCHW: RGB in [-1, 1], sides multiples of `pixels_per_token`.
        """
        mean = self.encoder(picture_BCHW)[:, : self.config.latent_channels]
        return self.bn.normalise(patchify(mean))

    def decode(self, latent_BCHW: Tensor) -> Tensor:
        """The picture of normalised token latents, RGB, clamped to [-1, 1]. [B, 3, H·p, W·p]"""
        cells = unpatchify(self.bn.restore(latent_BCHW))
        picture: Tensor = self.decoder(cells)
        return picture.clamp(-1, 1)


def patchify(cells_BCHW: Tensor) -> Tensor:
    """2 x 2 cells become one token; channel-major, then row, then column within the patch."""
    batch, channels, height, width = cells_BCHW.shape
    patches = cells_BCHW.reshape(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 1, 3, 5, 2, 4).reshape(batch, channels * 4, height // 2, width // 2)


def unpatchify(tokens_BCHW: Tensor) -> Tensor:
    """Undoes `patchify`."""
    batch, channels, height, width = tokens_BCHW.shape
    patches = tokens_BCHW.reshape(batch, channels // 4, 2, 2, height, width)
    return patches.permute(0, 1, 4, 2, 5, 3).reshape(batch, channels // 4, height * 2, width * 2)


class LatentStatistics(nn.Module):
    """Per-channel mean and variance of token latents, stored as a BatchNorm's running values."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def normalise(self, x_BCHW: Tensor) -> Tensor:
        """(x - μ) / √(σ² + eps), per channel."""
        return (x_BCHW - _per_channel(self.running_mean)) / self._deviation()

    def restore(self, x_BCHW: Tensor) -> Tensor:
        """Undoes `normalise`."""
        return x_BCHW * self._deviation() + _per_channel(self.running_mean)

    def _deviation(self) -> Tensor:
        return _per_channel(torch.sqrt(self.running_var + self.eps))


class Encoder(nn.Module):
    """Pixels to moments: mean, then log-variance. [B, 2·latent, H/f, W/f]"""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, last = config.channels, config.channels[-1]
        self.conv_in = _conv3(3, widths[0])
        self.down = nn.ModuleList(
            DownLevel(config, widths[max(level - 1, 0)], width, halves=level < len(widths) - 1)
            for level, width in enumerate(widths)
        )
        self.mid = Middle(config, last)
        self.norm_out = _norm(config, last)
        self.conv_out = _conv3(last, 2 * config.latent_channels)
        if config.quant_conv:
            self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        x = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return self.quant_conv(x) if hasattr(self, "quant_conv") else x


class Decoder(nn.Module):
    """Latent cells to pixels. [B, 3, H·f, W·f]; `up.N` is the level with 2^N times downsampling."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, last = config.decoder_channels, config.decoder_channels[-1]
        if config.post_quant_conv:
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)
        self.conv_in = _conv3(config.latent_channels, last)
        self.mid = Middle(config, last)
        self.up = nn.ModuleList(
            UpLevel(config, widths[min(level + 1, len(widths) - 1)], width, doubles=level > 0)
            for level, width in enumerate(widths)
        )
        self.norm_out = _norm(config, widths[0])
        self.conv_out = _conv3(widths[0], 3)

    def forward(self, z: Tensor) -> Tensor:
        x = self.post_quant_conv(z) if hasattr(self, "post_quant_conv") else z
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        picture: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return picture


class DownLevel(nn.Module):
    """One level of the encoder: residual blocks, then half the side except at the last level."""

    def __init__(
        self, config: AutoencoderConfig, inputs: int, outputs: int, *, halves: bool
    ) -> None:
        super().__init__()
        self.block = _blocks(config, inputs, outputs, config.layers_per_block)
        if halves:
            self.downsample = Downsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class UpLevel(nn.Module):
    """One level of the decoder: residual blocks, then twice the side except at the last level."""

    def __init__(
        self, config: AutoencoderConfig, inputs: int, outputs: int, *, doubles: bool
    ) -> None:
        super().__init__()
        self.block = _blocks(config, inputs, outputs, config.layers_per_block + 1)
        if doubles:
            self.upsample = Upsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.upsample(x) if hasattr(self, "upsample") else x


class Middle(nn.Module):
    """Two residual blocks around one attention over all cells."""

    def __init__(self, config: AutoencoderConfig, width: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(config, width, width)
        if config.mid_attention:
            self.attn_1 = CellAttention(config, width)
        self.block_2 = ResidualBlock(config, width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block_1(x)
        if hasattr(self, "attn_1"):
            x = self.attn_1(x)
        result: Tensor = self.block_2(x)
        return result


class ResidualBlock(nn.Module):
    """x' + conv(SiLU(norm(conv(SiLU(norm(x)))))), x' a 1 x 1 convolution where widths differ."""

    def __init__(self, config: AutoencoderConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _norm(config, inputs)
        self.conv1 = _conv3(inputs, outputs)
        self.norm2 = _norm(config, outputs)
        self.conv2 = _conv3(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        result: Tensor = (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h
        return result


class CellAttention(nn.Module):
    """One head over all cells, with 1 x 1 convolutions for its products."""

    def __init__(self, config: AutoencoderConfig, width: int) -> None:
        super().__init__()
        self.norm = _norm(config, width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        products = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        # Contiguous channels and a head axis of one: without either, PyTorch's memory-saving
        # kernels step aside and the whole cells x cells matrix is held, gigabytes at 1024².
        q, k, v = (product.contiguous() for product in products)
        seen = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        result: Tensor = x + self.proj_out(seen.transpose(1, 2).reshape(x.shape))
        return result


class Downsample(nn.Module):
    """Half the side: zero-padded right and below, 3 x 3 stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return result


class Upsample(nn.Module):
    """Twice the side: nearest neighbour, then 3 x 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv3(width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


def _blocks(config: AutoencoderConfig, inputs: int, outputs: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(
        ResidualBlock(config, inputs if index == 0 else outputs, outputs) for index in range(count)
    )


def _norm(config: AutoencoderConfig, width: int) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_groups, width, eps=config.norm_eps)


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _per_channel(x_C: Tensor) -> Tensor:
    return x_C[None, :, None, None]
