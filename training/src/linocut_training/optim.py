"""Optimisers and averages that every part of the recipe trains with.

Muon orthogonalises the momentum of weight matrices (Jordan et al., 2024,
kellerjordan.github.io/posts/muon); everything that is not a matrix goes to AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives singular values towards 1
NEWTON_SCHULZ_STEPS = 5


def orthogonalise(matrix: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: singular values land in about [0.7, 1.2]."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()  # fp32 would cost more than the step it serves
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; convolutions count as [out, in · k · k] matrices.

    The step is scaled by 0.2 √max(rows, columns), so that learning rates compare with AdamW's.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                looked_ahead = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                scale = 0.2 * max(looked_ahead.shape) ** 0.5
                update = orthogonalise(looked_ahead).view_as(weight)
                weight.add_(update, alpha=-group["lr"] * scale)


def split_parameters(
    model: nn.Module, apart: Callable[[str], bool]
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, the rest for AdamW); `apart` names matrices that go to the rest."""
    matrices, rest = [], []
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
