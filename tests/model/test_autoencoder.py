"""The autoencoder's names, sizes and latents. That it computes what is published: tests/parity."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut.catalog import MINI, SMALL_DECODER, AutoencoderConfig
from linocut.model.autoencoder import Autoencoder, LatentStatistics, patchify, unpatchify

PUBLISHED = Path(__file__).parents[1] / "weights" / "data" / "tensors_vae.tsv"


def on_meta(config: AutoencoderConfig) -> Autoencoder:
    with torch.device("meta"):
        return Autoencoder(config)


def test_the_full_size_has_the_published_tensors_and_no_other() -> None:
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))[1:]
    published = {
        row[0]: () if row[1] == "scalar" else tuple(int(side) for side in row[1].split("x"))
        for row in rows
    }
    network = on_meta(AutoencoderConfig())
    state = network.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == published
    assert sum(weight.numel() for weight in network.parameters()) == 84_046_115


def test_the_small_decoder_differs_in_the_decoder_alone() -> None:
    whole, small = on_meta(AutoencoderConfig()), on_meta(SMALL_DECODER)
    count = sum(weight.numel() for weight in small.decoder.parameters())
    assert round(count / 1e6, 2) == 27.95
    assert small.state_dict()["decoder.up.0.block.0.conv1.bias"].shape == (96,)
    for name, tensor in small.encoder.state_dict().items():
        assert tensor.shape == whole.encoder.state_dict()[name].shape


@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99)
)
def test_unpatchify_undoes_patchify(
    batch: int, channels: int, rows: int, columns: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randn(batch, channels, 2 * rows, 2 * columns, generator=generator)
    patched = patchify(cells)
    assert patched.shape == (batch, 4 * channels, rows, columns)
    assert torch.equal(unpatchify(patched), cells)


def test_a_patch_lists_channels_then_rows_then_columns() -> None:
    cells = torch.randn(1, 3, 4, 6)
    patched = patchify(cells)
    for c in range(3):
        for row in range(2):
            for column in range(2):
                expected = cells[0, c, row::2, column::2]
                assert torch.equal(patched[0, c * 4 + row * 2 + column], expected)


def test_statistics_are_undone_and_include_the_epsilon(small: SimpleNamespace) -> None:
    statistics = LatentStatistics(4, 1e-4)
    statistics.running_mean = torch.tensor([0.0, 1.0, -2.0, 3.0])
    statistics.running_var = torch.tensor([0.0, 1.0, 4.0, 0.25])
    x = torch.randn(2, 4, 3, 5)
    normal = statistics.normalise(x)
    expected = (x[:, 0] - 0.0) / 1e-2
    assert small.relative_error(normal[:, 0], expected) < 1e-6
    assert small.relative_error(statistics.restore(normal), x) < 1e-6


def test_encoding_takes_the_mean_and_never_a_sample(small: SimpleNamespace) -> None:
    network = Autoencoder(small.autoencoder).eval()
    small.randomise(network, 0)
    picture = torch.rand(1, 3, 32, 48) * 2 - 1
    torch.manual_seed(1)
    first = network.encode(picture)
    torch.manual_seed(2)
    assert torch.equal(network.encode(picture), first)
    assert first.shape == (1, 16, 2, 3)


def test_a_decoded_picture_stays_within_its_range(small: SimpleNamespace) -> None:
    network = Autoencoder(small.autoencoder).eval()
    small.randomise(network, 0)
    picture = network.decode(100 * torch.randn(1, 16, 2, 3))
    assert picture.shape == (1, 3, 32, 48)
    assert picture.min() == -1
    assert picture.max() == 1


@pytest.mark.parametrize(
    ("config", "pixels"), [(AutoencoderConfig(), 16), (SMALL_DECODER, 16), (MINI.autoencoder, 32)]
)
def test_a_token_covers_as_many_pixels_as_the_levels_say(
    config: AutoencoderConfig, pixels: int
) -> None:
    assert config.pixels_per_token == pixels
    latent = on_meta(config).encode(torch.empty(1, 3, 2 * pixels, 3 * pixels, device="meta"))
    assert latent.shape == (1, config.token_channels, 2, 3)
