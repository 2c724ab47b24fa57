"""The autoencoder computes what diffusers' AutoencoderKLFlux2 computes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Final

import pytest
import torch

from linocut.catalog import MINI, AutoencoderConfig
from linocut.model.autoencoder import unpatchify

EXACT = 1e-5
PLAIN: Final = AutoencoderConfig(
    channels=(8, 16, 24), layers_per_block=2, latent_channels=3, norm_groups=4
)
SHAPES: Final = {
    "the tiny checkpoint's": AutoencoderConfig(
        channels=(32, 64, 128, 128), layers_per_block=1, latent_channels=4
    ),
    "three levels": PLAIN,
    "a small decoder": replace(PLAIN, decoder_channels=(4, 12, 20)),
    "a decoder of equal widths": replace(PLAIN, decoder_channels=(16, 16, 16)),
    "without extras": replace(
        PLAIN, quant_conv=False, post_quant_conv=False, mid_attention=False, batch_norm_eps=1e-3
    ),
    "one level": replace(PLAIN, channels=(8,), decoder_channels=(8,)),
    "the demo's": MINI.autoencoder,
}


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 3)])
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_latents_and_pictures_are_theirs(
    config: AutoencoderConfig,
    grid: tuple[int, int],
    small: SimpleNamespace,
    oracle: SimpleNamespace,
) -> None:
    theirs = small.their_autoencoder(config, seed=1)
    ours = oracle.our_autoencoder(theirs, config)
    generator = torch.Generator().manual_seed(2)
    p = config.pixels_per_token
    pixels = torch.rand(1, 3, grid[0] * p, grid[1] * p, generator=generator) * 2 - 1
    expected = oracle.their_latent(theirs, pixels)
    assert small.relative_error(ours.encode(pixels), expected) <= EXACT
    latent = torch.randn(1, config.token_channels, *grid, generator=generator)
    expected = oracle.their_picture(theirs, latent)
    found = ours.decoder(unpatchify(ours.bn.restore(latent)))
    assert small.relative_error(found, expected) <= EXACT
    assert torch.equal(ours.decode(latent), found.clamp(-1, 1))


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_an_odd_number_of_cells_is_encoded_and_decoded_as_theirs(
    config: AutoencoderConfig, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    """5 x 7 cells make no tokens, but the convolutions' edges show best in them."""
    theirs = small.their_autoencoder(config, seed=3)
    ours = oracle.our_autoencoder(theirs, config)
    generator = torch.Generator().manual_seed(4)
    pixels = torch.rand(1, 3, 5 * config.factor, 7 * config.factor, generator=generator) * 2 - 1
    expected = theirs.encode(pixels).latent_dist.parameters
    assert small.relative_error(ours.encoder(pixels), expected) <= EXACT
    cells = torch.randn(1, config.latent_channels, 5, 7, generator=generator)
    expected = theirs.decode(cells, return_dict=False)[0]
    assert small.relative_error(ours.decoder(cells), expected) <= EXACT
