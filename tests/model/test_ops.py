"""The small operations, against their formulas in double precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut.model import ops


def test_the_sinusoid_has_its_cosines_first() -> None:
    row = ops.sinusoid(torch.tensor([3.0, 0.0]), 8)
    expected = [math.cos(3 * 10000 ** (-j / 4)) for j in range(4)]
    expected += [math.sin(3 * 10000 ** (-j / 4)) for j in range(4)]
    assert row[0].tolist() == pytest.approx(expected, abs=1e-6)
    assert row[1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_the_sinusoid_is_formed_in_full_precision_whatever_it_is_given() -> None:
    value = torch.tensor([996.0], dtype=torch.bfloat16)
    assert ops.sinusoid(value, 64).dtype == torch.float32
    assert torch.equal(ops.sinusoid(value, 64), ops.sinusoid(value.float(), 64))


def test_the_frequencies_of_the_published_axes_are_those_of_the_facts() -> None:
    at = torch.tensor([[1, 0, 0, 0]])
    angles = ops.rotary_table(at, (32, 32, 32, 32), 2000.0)
    turned = torch.atan2(angles.sin_LD, angles.cos_LD)[0, :16]
    expected = [1.0, 0.62185, 0.386697, 0.240468, 0.149535, 0.092988, 0.057825, 0.035958]
    expected += [0.022361, 0.013905, 0.008647, 0.005377, 0.003344, 0.002079, 0.001293, 0.000804]
    assert turned.tolist() == pytest.approx(expected, abs=1e-6)


def test_each_axis_turns_its_own_channels() -> None:
    for axis, (first, last) in enumerate(((0, 2), (2, 6), (6, 7), (7, 10))):
        at = torch.zeros(1, 4, dtype=torch.long)
        at[0, axis] = 5
        table = ops.rotary_table(at, (4, 8, 2, 6), 2000.0)
        turning = table.sin_LD[0].abs() > 0
        assert turning.nonzero().flatten().tolist() == list(range(first, last))


def test_far_positions_are_as_exact_as_near_ones() -> None:
    at = torch.tensor([[0, 4096, 0, 0]])
    table = ops.rotary_table(at, (32, 32, 32, 32), 2000.0)
    exact = [4096 * 2000.0 ** (-2 * i / 32) for i in range(16)]
    assert table.cos_LD[0, 16:32].tolist() == pytest.approx([math.cos(a) for a in exact], abs=1e-7)
    assert table.sin_LD[0, 16:32].tolist() == pytest.approx([math.sin(a) for a in exact], abs=1e-7)


def test_adjacent_channels_are_turned_as_a_pair() -> None:
    table = ops.rotary_table(torch.tensor([[2, 0, 0, 0]]), (2, 2, 2, 2), 2000.0)
    x = torch.tensor([1.0, 0, 1, 0, 0, 1, 3, 4])[None, None, None]
    turned = ops.rotate(x, table).flatten().tolist()
    assert turned[:2] == pytest.approx([math.cos(2), math.sin(2)])
    assert turned[2:] == [1, 0, 0, 1, 3, 4]


@given(st.integers(-50, 50), st.integers(0, 3), st.integers(0, 1000))
def test_only_the_distance_of_two_tokens_matters(shift: int, axis: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 1, 1, 1, 16, generator=generator, dtype=torch.float32)
    at = torch.randint(50, 100, (2, 4), generator=generator)

    def score(at_LA: torch.Tensor) -> float:
        table = ops.rotary_table(at_LA, (4, 4, 4, 4), 2000.0)
        q_at, k_at = (ops.Rotary(table.cos_LD[i : i + 1], table.sin_LD[i : i + 1]) for i in (0, 1))
        return float((ops.rotate(q, q_at) * ops.rotate(k, k_at)).sum())

    moved = at.clone()
    moved[:, axis] += shift
    assert score(moved) == pytest.approx(score(at), abs=1e-4)


def test_rotation_computes_in_full_precision_and_keeps_the_dtype() -> None:
    table = ops.rotary_table(torch.arange(20).view(5, 4), (8, 8, 8, 8), 2000.0)
    x = torch.randn(1, 2, 5, 32).bfloat16()
    turned = ops.rotate(x, table)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, ops.rotate(x.float(), table).bfloat16())
    assert table.cos_LD.dtype == torch.float32


def test_the_norm_is_scaled_by_one_more_than_scale() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    centred = torch.tensor([-2.0, -1.0, 0.0, 3.0])
    normed = centred / math.sqrt(14 / 4 + 1e-6)
    shift, scale = torch.tensor([[[1.0, 2, 3, 4]]]), torch.tensor([[[0.0, 1, -1, 0.5]]])
    result = ops.modulated_norm(x, shift, scale, 1e-6)
    expected = (1 + scale[0, 0]) * normed + shift[0, 0]
    assert result[0, 0].tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_the_first_half_opens_the_gate_for_the_second() -> None:
    result = ops.gated_silu(torch.tensor([[2.0, -1.0, 3.0, 5.0]]))
    silu = [2 / (1 + math.exp(-2)), -1 / (1 + math.exp(1))]
    assert result.flatten().tolist() == pytest.approx([silu[0] * 3, silu[1] * 5])
