"""Tokens are packed and stand where Flux2Pipeline puts them."""

from __future__ import annotations

import torch
from diffusers import Flux2Pipeline
from hypothesis import given
from hypothesis import strategies as st

from linocut.model.autoencoder import patchify, unpatchify
from linocut.sampling import tokens

SIDES = st.integers(1, 40)


@given(SIDES, SIDES)
def test_drawn_tokens_are_packed_placed_and_unpacked_as_theirs(rows: int, columns: int) -> None:
    latent = torch.randn(1, 3, rows, columns)
    ours = tokens.picture_tokens(latent)
    at_BLA = Flux2Pipeline._prepare_latent_ids(latent)
    assert torch.equal(ours.x_BLC, Flux2Pipeline._pack_latents(latent))
    assert torch.equal(ours.at_LA, at_BLA[0])
    theirs = Flux2Pipeline._unpack_latents_with_ids(ours.x_BLC, at_BLA)
    assert torch.equal(tokens.to_latent(ours.x_BLC, rows, columns), theirs)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=10))
def test_references_are_packed_and_placed_as_theirs(sizes: list[tuple[int, int]]) -> None:
    latents = [torch.randn(1, 2, *size) for size in sizes]
    ours = tokens.reference_tokens(tuple(latents))
    assert ours is not None
    assert torch.equal(ours.at_LA, Flux2Pipeline._prepare_image_ids(latents)[0])
    packed = [Flux2Pipeline._pack_latents(latent) for latent in latents]
    assert torch.equal(ours.x_BLC, torch.cat(packed, 1))


@given(st.integers(1, 600))
def test_words_are_placed_as_theirs(count: int) -> None:
    context = torch.zeros(1, count, 1)
    ours = tokens.text_tokens(context)
    assert torch.equal(ours.at_LA, Flux2Pipeline._prepare_text_ids(context)[0])


@given(st.integers(1, 4), SIDES, SIDES)
def test_cells_are_patched_as_theirs(channels: int, rows: int, columns: int) -> None:
    cells = torch.randn(1, channels, 2 * rows, 2 * columns)
    patched = Flux2Pipeline._patchify_latents(cells)
    assert torch.equal(patchify(cells), patched)
    assert torch.equal(unpatchify(patched), Flux2Pipeline._unpatchify_latents(patched))
