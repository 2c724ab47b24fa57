"""Values survive the way to the other layout and back, and are copied only where they must be."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from linocut.errors import CheckpointInvalid
from linocut.weights import convert
from linocut.weights.names import TRANSFORMER, Form, Names, autoencoder

DATA = Path(__file__).parent / "data"


def published(table: str) -> dict[str, int]:
    """Our name of every published tensor, and how many dimensions it has."""
    with (DATA / table).open(newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    return {name: 0 if shape == "scalar" else shape.count("x") + 1 for name, shape, *_ in lines}


@st.composite
def states(draw: st.DrawFn) -> tuple[Names, dict[str, Tensor]]:
    """Names of a network with any number of blocks or levels, and small random values for them."""
    if draw(st.booleans()):
        names, table = TRANSFORMER, "tensors_transformer.tsv"
        block = draw(st.integers(0, 120))
        rename = {"double_blocks.0.": f"double_blocks.{block}."}
        rename["single_blocks.0."] = f"single_blocks.{block}."
    else:
        levels = draw(st.integers(4, 7))
        names, table, rename = autoencoder(levels), "tensors_vae.tsv", {}
    side = draw(st.integers(1, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    state = {}
    for published_name, dimensions in published(table).items():
        if ".0." not in published_name and draw(st.integers(0, 9)):
            continue  # a few of the many equal blocks are enough
        ours = published_name
        for old, new in rename.items():
            ours = ours.replace(old, new)
        rows = {Form.JOINED: 3, Form.SWAPPED: 2}.get(names.of_ours(ours).form, 1) * side
        shape = {0: (), 1: (rows,), 2: (rows, side), 4: (rows, side, 1, 1)}[dimensions]
        state[ours] = torch.randn(shape, generator=generator)
    return names, state


@given(states())
def test_there_and_back_is_where_one_started(drawn: tuple[Names, dict[str, Tensor]]) -> None:
    names, state = drawn
    back = convert.from_diffusers(names, convert.to_diffusers(names, state))
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_shift_and_scale_change_places() -> None:
    name, theirs = "final_layer.adaLN_modulation.1.weight", "norm_out.linear.weight"
    ours = {name: torch.tensor([[1.0], [2.0], [3.0], [4.0]])}
    assert convert.to_diffusers(TRANSFORMER, ours)[theirs].flatten().tolist() == [3, 4, 1, 2]


def test_a_lonely_query_is_refused_with_the_names_of_the_others() -> None:
    state = {"transformer_blocks.3.attn.to_q.weight": torch.zeros(2, 2)}
    with pytest.raises(CheckpointInvalid, match=r"without .*3\.attn\.to_k.*3\.attn\.to_v"):
        convert.from_diffusers(TRANSFORMER, state)


def test_what_needs_no_change_is_not_copied() -> None:
    stored = torch.randn(6, 2)
    (row,) = convert.rows_of_ours(Form.SAME, [stored])
    assert convert.joined([row]).data_ptr() == stored.data_ptr()
    (row,) = convert.rows_of_ours(Form.SQUEEZED, [stored])
    assert convert.joined([row]).data_ptr() == stored.data_ptr()
    for form in (Form.JOINED, Form.SWAPPED):
        assert convert.rows_of_ours(form, [stored])[-1].data_ptr() == stored.data_ptr()


def test_joining_converts_on_the_way() -> None:
    parts = [torch.ones(2, 3, dtype=torch.bfloat16), torch.zeros(4, 3, dtype=torch.bfloat16)]
    whole = convert.joined(parts, dtype=torch.float64)
    assert (whole.dtype, whole.sum(), whole.shape) == (torch.float64, 6, (6, 3))
