"""Tokens and where they stand. Against the published pipeline's own numbers: tests/parity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut.sampling import tokens

SIDES = st.integers(1, 9)


@given(st.integers(1, 2), st.integers(1, 5), SIDES, SIDES)
def test_unpack_undoes_pack(batch: int, channels: int, rows: int, columns: int) -> None:
    latent = torch.arange(batch * channels * rows * columns).view(batch, channels, rows, columns)
    packed = tokens.picture_tokens(latent)
    assert packed.x_BLC.shape == (batch, rows * columns, channels)
    assert torch.equal(tokens.to_latent(packed.x_BLC, rows, columns), latent)


@given(SIDES, SIDES, st.integers(0, 100))
def test_every_token_stands_where_its_cell_does(rows: int, columns: int, time: int) -> None:
    latent = torch.randn(1, 2, rows, columns)
    packed = tokens.picture_tokens(latent, time=time)
    assert len(packed) == rows * columns
    for token, (at_time, row, column, word) in zip(
        packed.x_BLC[0], packed.at_LA.tolist(), strict=True
    ):
        assert torch.equal(token, latent[0, :, row, column])
        assert (at_time, word) == (time, 0)
    assert len({tuple(at) for at in packed.at_LA.tolist()}) == rows * columns


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=10))
def test_reference_k_stands_at_time_ten_and_ten_k(sizes: list[tuple[int, int]]) -> None:
    latents = tuple(torch.randn(1, 3, *size) for size in sizes)
    found = tokens.reference_tokens(latents)
    assert found is not None
    start = 0
    for number, latent in enumerate(latents):
        end = start + latent[0, 0].numel()
        alone = tokens.picture_tokens(latent, time=10 + 10 * number)
        assert torch.equal(found.at_LA[start:end], alone.at_LA)
        assert torch.equal(found.x_BLC[:, start:end], alone.x_BLC)
        start = end
    assert start == len(found)


def test_without_references_there_are_no_reference_tokens() -> None:
    assert tokens.reference_tokens(()) is None


def test_text_stands_in_a_row_with_its_padding() -> None:
    found = tokens.text_tokens(torch.randn(1, 5, 8))
    assert found.at_LA.tolist() == [[0, 0, 0, word] for word in range(5)]


def test_then_puts_the_others_behind() -> None:
    first = tokens.text_tokens(torch.zeros(1, 2, 3))
    second = tokens.picture_tokens(torch.ones(1, 3, 1, 2), time=10)
    both = first.then(second)
    assert both.x_BLC[0, :, 0].tolist() == [0, 0, 1, 1]
    assert both.at_LA.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [10, 0, 0, 0], [10, 0, 1, 0]]


def test_positions_are_whole_numbers() -> None:
    for found in (
        tokens.text_tokens(torch.zeros(1, 2, 3)),
        tokens.picture_tokens(torch.zeros(1, 3, 1, 2, dtype=torch.bfloat16)),
    ):
        assert found.at_LA.dtype == torch.long


def test_a_wrong_grid_is_refused() -> None:
    with pytest.raises(RuntimeError):
        tokens.to_latent(torch.zeros(1, 6, 2), 2, 4)
