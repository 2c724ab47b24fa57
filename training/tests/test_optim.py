"""The optimisers step where they should, and averages and rates are what they are called."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from linocut_training.optim import Average, Muon, orthogonalise, rate_at, split_parameters


def matrix(rows: int, columns: int, seed: int = 0, *, worst: float = 0.2) -> torch.Tensor:
    """Random directions with singular values spread evenly from `worst` to 1."""
    generator = torch.Generator().manual_seed(seed)
    few = min(rows, columns)
    left, _ = torch.linalg.qr(torch.randn(rows, few, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(columns, few, generator=generator, dtype=torch.float64))
    return (left * torch.linspace(worst, 1, few, dtype=torch.float64)) @ right.T


def newton_schulz(x: np.ndarray) -> np.ndarray:
    """The iteration as its author states it: X <- aX + b(XXᵀ)X + c(XXᵀ)²X, five times."""
    x = x / np.linalg.norm(x)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(8, 8), (12, 40), (40, 12), (1, 9), (64, 192)])
def test_orthogonalising_keeps_directions_and_levels_what_they_stretch(shape) -> None:
    given = matrix(*shape)
    found = orthogonalise(given.float())
    assert found.shape == given.shape
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    turned = left.T @ found.double() @ right.T
    assert (turned - turned.diag().diag()).abs().max() < 1e-3
    assert (turned.diag() > 0.6).all()


@pytest.mark.parametrize("shape", [(6, 6), (10, 30), (30, 10)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_orthogonalising_is_the_published_iteration(shape, scale) -> None:
    given = matrix(*shape, seed=1) * scale
    found = orthogonalise(given.float()).numpy()
    assert np.allclose(found, newton_schulz(given.numpy()), atol=5e-3 if scale < 1 else 5e-4)


def test_a_gradient_of_zeros_moves_nothing() -> None:
    assert torch.equal(orthogonalise(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_muon_solves_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, wanted = (torch.randn(64, size, generator=generator) for size in (12, 7))
    wanted = wanted * 0.1 + inputs @ torch.randn(12, 7, generator=generator)
    best = (wanted - inputs @ torch.linalg.lstsq(inputs, wanted).solution).square().mean()
    weight = nn.Parameter(torch.zeros(7, 12))
    muon = Muon([weight], lr=0.3)
    losses = []
    for step in range(200):
        muon.zero_grad()
        loss = (inputs @ weight.T - wanted).square().mean()
        loss.backward()
        losses.append(loss.item())
        muon.param_groups[0]["lr"] = 0.3 * (1 - step / 200)
        muon.step()
    assert losses[0] > 50 * best
    assert losses[-1] < 1.2 * best


def test_a_step_is_as_long_as_the_rate_and_the_shape_say() -> None:
    weight = nn.Parameter(torch.zeros(10, 40))
    weight.grad = matrix(10, 40, worst=0.5).float()
    Muon([weight], lr=0.01).step()
    lengths = torch.linalg.svdvals(weight.detach()) / (0.01 * 0.2 * 40**0.5)
    assert lengths.min() > 0.6
    assert lengths.max() < 1.3
    assert (weight.detach() * weight.grad).sum() < 0


def test_a_convolution_counts_as_a_matrix() -> None:
    kernel = nn.Parameter(torch.ones(6, 4, 3, 3))
    flat = nn.Parameter(torch.ones(6, 36))
    muon = Muon([kernel, flat], lr=0.02)
    for seed in range(3):
        kernel.grad = matrix(6, 36, seed).float().view(6, 4, 3, 3)
        flat.grad = matrix(6, 36, seed).float()
        muon.step()
    assert torch.equal(kernel.detach().flatten(1), flat.detach())
    assert (kernel.detach() != 1).any()


def test_a_weight_without_a_gradient_stays() -> None:
    still, moved = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    moved.grad = torch.eye(3)
    Muon([still, moved], lr=0.1).step()
    assert torch.equal(still.detach(), torch.ones(3, 3))
    assert not torch.equal(moved.detach(), torch.ones(3, 3))


def test_the_momentum_is_saved_with_the_state() -> None:
    weights = [nn.Parameter(torch.zeros(4, 4)) for _ in range(2)]
    first, second = (Muon([weight], lr=0.1) for weight in weights)
    weights[0].grad = matrix(4, 4).float()
    first.step()
    weights[1].data.copy_(weights[0])
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for weight, muon in zip(weights, (first, second), strict=True):
        weight.grad = matrix(4, 4, 7).float()
        muon.step()
    assert torch.equal(*[weight.detach() for weight in weights])


def test_the_rate_goes_up_stays_and_falls_to_nothing() -> None:
    assert rate_at(0) == 0
    assert rate_at(0.005) == pytest.approx(0.5)
    assert {rate_at(0.01), rate_at(0.3), rate_at(0.5499)} == {1.0}
    assert rate_at(0.775) == pytest.approx(0.5)
    assert rate_at(1.0) == rate_at(1.1) == 0
    shares = [rate_at(done / 1000) for done in range(1001)]
    jumps = np.abs(np.diff(shares))
    assert jumps.max() < 0.11  # a tenth of the way up in each of the warm-up's ten steps
    assert jumps[10:].max() < 0.003


def test_the_average_follows_and_can_be_put_back() -> None:
    model = nn.Linear(3, 2)
    average = Average(model)
    begun = [value.clone() for value in average.values]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    for _ in range(10):
        average.update(model, 0.8)
    for value, start in zip(average.values, begun, strict=True):
        assert torch.allclose(value, start + 1 - 0.8**10, atol=1e-5)
    for _ in range(60):
        average.update(model, 0.8)
    average.copy_to(other := nn.Linear(3, 2))
    for parameter, wanted in zip(other.parameters(), model.parameters(), strict=True):
        assert torch.allclose(parameter, wanted, atol=1e-4)


def test_every_parameter_goes_to_one_side() -> None:
    model = nn.ModuleDict({
        "embed": nn.Embedding(5, 4), "inner": nn.Linear(4, 4), "conv": nn.Conv2d(4, 4, 3),
    })  # fmt: skip
    matrices, rest = split_parameters(model, lambda name: "embed" in name)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert [names[id(parameter)] for parameter in matrices] == ["inner.weight", "conv.weight"]
    assert {names[id(p)] for p in rest} == {"embed.weight", "inner.bias", "conv.bias"}


def test_a_matrix_is_orthogonalised_where_it_lies() -> None:
    elsewhere = torch.empty(4, 8, device="meta")
    assert orthogonalise(elsewhere).device == elsewhere.device
