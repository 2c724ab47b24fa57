"""The loop: what is computed once, what in every step, and that stopping stops it."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from linocut.model.transformer import Transformer
from linocut.sampling import tokens
from linocut.sampling.denoise import Velocity, bind, denoise

LEVELS = (1.0, 0.75, 0.3, 0.0)


def test_the_loop_is_eulers_method() -> None:
    noise = torch.tensor([[[4.0, 8.0]]])
    steps = list(denoise(lambda x, step: x * (step + 1), noise, LEVELS))
    x = noise
    for step, (higher, lower) in zip(steps, pairwise(LEVELS), strict=True):
        v = x * (step.index + 1)
        x = x + (lower - higher) * v
        assert torch.allclose(step.x_BLC, x)
        assert torch.allclose(step.velocity_BLC, v)
        assert step.level == lower
        assert torch.allclose(step.clean(), x - lower * v)
    assert [step.index for step in steps] == [0, 1, 2]


def test_a_straight_way_ends_at_its_goal_in_any_number_of_steps() -> None:
    noise, goal = torch.randn(2, 1, 5, 3)
    for levels in ((1.0, 0.0), LEVELS, (1.0, 0.999, 0.5, 0.01, 0.0)):
        *_, last = denoise(lambda *_: noise - goal, noise, levels)
        assert torch.allclose(last.x_BLC, goal, atol=1e-6)
        assert torch.allclose(last.clean(), goal, atol=1e-6)


def test_a_way_of_no_steps_calls_nothing() -> None:
    assert list(denoise(_never, torch.zeros(1, 1, 1), (0.0,))) == []


def _never(_x: Tensor, _step: int) -> Tensor:
    raise AssertionError


def test_stopping_the_loop_stops_the_model() -> None:
    calls = []

    def counted(x: Tensor, step: int) -> Tensor:
        calls.append(step)
        return x

    loop = denoise(counted, torch.zeros(1, 1, 1), LEVELS)
    assert calls == []
    next(loop)
    assert calls == [0]
    loop.close()  # type: ignore[attr-defined]
    assert calls == [0]


def test_inference_mode_does_not_leak_to_the_caller_between_steps() -> None:
    inside = []

    def velocity(x: Tensor, _step: int) -> Tensor:
        inside.append(torch.is_inference_mode_enabled())
        return x

    for _ in denoise(velocity, torch.zeros(1, 1, 1), LEVELS):
        assert not torch.is_inference_mode_enabled()
    assert inside == [True, True, True]


def test_the_tokens_stay_fp32_whatever_the_model_computes_in(small: SimpleNamespace) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    velocity, drawn = bound(network.bfloat16())
    with torch.inference_mode():
        assert velocity(drawn.x_BLC, 0).dtype == torch.float32
    for step in denoise(velocity, drawn.x_BLC, LEVELS):
        assert step.x_BLC.dtype == torch.float32


def bound(
    network: Transformer, *, references: int = 0, guidance: float = 3.0
) -> tuple[Velocity, tokens.Tokens]:
    generator = torch.Generator().manual_seed(1)
    drawn, *others = (
        torch.randn(1, 16, 2, 3 + number, generator=generator) for number in range(references + 1)
    )
    drawn_tokens = tokens.picture_tokens(drawn)
    velocity = bind(
        network,
        drawn_tokens,
        text=tokens.text_tokens(torch.randn(1, 4, 48, generator=generator)),
        references=tokens.reference_tokens(tuple(others)),
        guidance=guidance,
        levels=LEVELS[:-1],
    )
    return velocity, drawn_tokens


@pytest.mark.parametrize("references", [0, 1, 2])
def test_what_does_not_change_is_computed_once(references: int, small: SimpleNamespace) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    calls: dict[str, int] = {}
    once = ("txt_in", "time_in", "guidance_in", "double_stream_modulation_img",
            "double_stream_modulation_txt", "single_stream_modulation")  # fmt: skip
    for name in (*once, "img_in", "final_layer"):
        calls[name] = 0

        def count(*_: object, name: str = name) -> None:
            calls[name] += 1

        network.get_submodule(name).register_forward_hook(count)
    velocity, drawn = bound(network, references=references)
    steps = list(denoise(velocity, drawn.x_BLC, LEVELS))
    assert len(steps) == calls["final_layer"] == 3
    assert [calls[name] for name in once] == [1] * len(once)
    assert calls["img_in"] == 3 + bool(references)  # the references together, the drawn each step


def test_only_the_drawn_tokens_are_walked(small: SimpleNamespace) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    velocity, drawn = bound(network, references=2)
    for step in denoise(velocity, drawn.x_BLC, LEVELS):
        assert step.x_BLC.shape == drawn.x_BLC.shape


def test_guidance_and_references_are_seen(small: SimpleNamespace) -> None:
    network = Transformer(small.transformer)
    small.randomise(network, 0)
    results = [
        velocity(drawn.x_BLC, 0)
        for velocity, drawn in (
            bound(network), bound(network, guidance=4.0), bound(network, references=1),
            bound(network, references=2),
        )
    ]  # fmt: skip
    for index, one in enumerate(results):
        for other in results[index + 1 :]:
            assert (one - other).abs().max() > 0.01 * one.abs().max()
