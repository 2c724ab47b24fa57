"""Optimisers and averages that every part of the recipe trains with.

Muon orthogonalises the momentum of weight matrices (Jordan et al., 2024,
kellerjordan.github.io/posts/muon); everything that is not a matrix goes to AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives singular values towards 1
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values land in about [0.7, 1.2].

    Every step is a polynomial in x xᵀ, so the steps run on that small square matrix and meet the
    wide one only twice.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix
    if tall := x.shape[0] > x.shape[1]:
        x = x.T.contiguous()
    x = x / (x.norm() + 1e-7)
    gram, one = x @ x.T, torch.eye(x.shape[0], device=x.device)
    total = step = a * one + b * gram + c * gram @ gram
    for _ in range(NEWTON_SCHULZ_STEPS - 1):
        gram = step @ gram @ step
        step = a * one + b * gram + c * gram @ gram
        total = step @ total
    result: Tensor = total @ x
    return result.T if tall else result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; convolutions count as [out, in · k · k] matrices.

    The step is scaled by 0.2 √max(rows, columns), so that learning rates compare with AdamW's.
    Where several processes train together each orthogonalises its share and sends it round.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None
        shared = dist.is_initialized()
        rank, processes = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for index, weight in enumerate(weights):
                momentum = self._momentum(weight, group["momentum"])
                if index % processes == rank:
                    looked_ahead = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                    scale = 0.2 * max(looked_ahead.shape) ** 0.5
                    update = orthogonalise(looked_ahead).reshape(weight.shape)
                    weight.add_(update, alpha=-group["lr"] * scale)
            for index, weight in enumerate(weights if processes > 1 else ()):
                dist.broadcast(weight, index % processes)

    def _momentum(self, weight: nn.Parameter, keep: float) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        assert weight.grad is not None
        momentum: Tensor = state["momentum"].lerp_(weight.grad, 1 - keep)
        return momentum


def split_parameters(
    model: nn.Module, apart: Callable[[str], bool]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, the rest for AdamW); `apart` names matrices that go to the rest."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (rest if parameter.ndim < 2 or apart(name) else matrices).append(parameter)
    return matrices, rest


def rate_at(done: float, *, warmup: float = 0.01, decay_from: float = 0.55) -> float:
    """Share of the learning rate after a share `done` of the steps: up, level, linearly down."""
    if done < warmup:
        return done / warmup
    if done < decay_from:
        return 1.0
    return max(0.0, (1 - done) / (1 - decay_from))


class Average:
    """Exponential moving average of a model's parameters, fp32."""

    def __init__(self, model: nn.Module) -> None:
        self.values = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def update(self, model: nn.Module, keep: float) -> None:
        """values = keep · values + (1 - keep) · parameters."""
        torch._foreach_lerp_(self.values, list(model.parameters()), 1 - keep)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the averaged values into `model`."""
        for parameter, value in zip(model.parameters(), self.values, strict=True):
            parameter.copy_(value)
