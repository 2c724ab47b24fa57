"""The velocity network computes what diffusers' Flux2Transformer2DModel computes."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any, Final

import pytest
import torch
from torch import Tensor

from linocut.catalog import TransformerConfig
from linocut.model.transformer import Transformer
from linocut.sampling import tokens
from linocut.sampling.denoise import bind

LEVELS = (1.0, 0.83, 0.4, 0.02)
EXACT = 1e-5
BF16 = 1e-2


def shape(heads: int, axes: tuple[int, ...], **others: object) -> TransformerConfig:
    return TransformerConfig(
        hidden_size=heads * sum(axes), num_heads=heads, axes=axes,
        **({"in_channels": 16, "context_channels": 24, "num_double_blocks": 2,
            "num_single_blocks": 3} | others),  # type: ignore[arg-type]
    )  # fmt: skip


def at_random(seed: int) -> TransformerConfig:
    rng = random.Random(seed)  # noqa: S311 - repeatable chance
    return shape(
        rng.choice((1, 2, 3, 5)),
        rng.choice(((8, 8, 8, 8), (4, 8, 8, 4), (2, 6, 4, 12), (16, 4, 2, 10))),
        in_channels=rng.choice((4, 12, 20)),
        context_channels=rng.choice((10, 33, 48)),
        num_double_blocks=rng.choice((0, 1, 2)),
        num_single_blocks=rng.choice((1, 2, 4)),
        mlp_ratio=rng.choice((2.0, 2.5, 3.0, 4.0)),
        rope_theta=rng.choice((40.0, 2000.0, 10000.0)),
        time_channels=rng.choice((32, 64, 256)),
        guidance_embedding=rng.random() < 0.5,
    )


SHAPES: Final = {
    "two heads, equal axes": shape(2, (8, 8, 8, 8)),
    "three heads, unequal axes": shape(3, (4, 8, 8, 4)),
    "two heads, unequal axes, no guidance": shape(2, (4, 8, 8, 4), guidance_embedding=False),
    "three heads, the demo's base": shape(3, (8, 8, 8, 8), rope_theta=40.0),
    **{f"random {seed}": at_random(seed) for seed in range(6)},
}


def inputs(config: TransformerConfig, references: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """A drawn latent of 3 x 5, a context of 7 rows, references of sizes of their own."""
    generator = torch.Generator().manual_seed(references)
    sizes = ((3, 5), (2, 7), (4, 3), (5, 5))[: references + 1]
    drawn, *others = (
        torch.randn(1, config.in_channels, *size, generator=generator) for size in sizes
    )
    context = torch.randn(1, 7, config.context_channels, generator=generator)
    return drawn, context, tuple(others)


def our_velocity(
    network: Transformer, drawn: Tensor, context: Tensor, others: tuple[Tensor, ...],
    *, levels: tuple[float, ...] = LEVELS, guidance: float = 3.5, step: int = 1,
) -> Tensor:  # fmt: skip
    placed = tokens.picture_tokens(drawn)
    velocity = bind(
        network,
        placed,
        text=tokens.text_tokens(context),
        references=tokens.reference_tokens(others),
        guidance=guidance,
        levels=levels,
    )
    return velocity(placed.x_BLC, step)


@pytest.mark.parametrize("references", [0, 1, 2, 3])
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_the_velocity_is_theirs(
    config: TransformerConfig, references: int, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    theirs = small.their_transformer(config, seed=references)
    ours = oracle.our_transformer(theirs, config)
    drawn, context, others = inputs(config, references)
    expected = oracle.their_velocity(
        theirs, drawn, context_BTC=context, references=others,
        level=torch.tensor([LEVELS[1]]), guidance=torch.tensor([3.5]),
    )  # fmt: skip
    assert small.relative_error(our_velocity(ours, drawn, context, others), expected) <= EXACT


@pytest.mark.parametrize("step", range(4))
def test_the_velocity_is_theirs_at_every_level(
    step: int, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    theirs = small.their_transformer(small.transformer, seed=7)
    ours = oracle.our_transformer(theirs, small.transformer)
    drawn, context, others = inputs(small.transformer, 1)
    expected = oracle.their_velocity(
        theirs, drawn, context_BTC=context, references=others,
        level=torch.tensor([LEVELS[step]]), guidance=torch.tensor([1.5]),
    )  # fmt: skip
    found = our_velocity(ours, drawn, context, others, guidance=1.5, step=step)
    assert small.relative_error(found, expected) <= EXACT


def test_the_comparison_would_see_a_reference_at_the_wrong_time(
    small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    """That the test is not blind: one position off by one is seen a thousandfold."""
    theirs = small.their_transformer(small.transformer, seed=0)
    ours = oracle.our_transformer(theirs, small.transformer)
    drawn, context, others = inputs(small.transformer, 1)
    placed = tokens.picture_tokens(drawn)
    right = our_velocity(ours, drawn, context, others)
    wrong = bind(
        ours, placed, text=tokens.text_tokens(context),
        references=tokens.picture_tokens(others[0], time=11), guidance=3.5, levels=LEVELS,
    )(placed.x_BLC, 1)  # fmt: skip
    assert small.relative_error(wrong, right) > 1000 * EXACT


@pytest.mark.parametrize("references", [0, 2])
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_in_bf16_the_velocity_is_theirs_for_the_same_rounded_timestep(
    config: TransformerConfig, references: int, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    """With weights of gain 0.7: no stack of layers makes the roundings louder than they are."""
    theirs = small.their_transformer(config, seed=references)
    for weight in theirs.parameters():
        if weight.ndim == 2:
            weight.mul_(0.7 / 0.15 / weight.shape[1] ** 0.5)
    ours, expected, _ = in_bf16(theirs, config, references, oracle)
    assert small.relative_error(ours, expected) <= BF16


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES)
def test_in_bf16_we_are_as_near_to_full_precision_as_they(
    config: TransformerConfig, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    """With N(0, 0.15), both lose a percent or two: the same, each with its own roundings."""
    theirs = small.their_transformer(config, seed=5)
    ours, expected, exact = in_bf16(theirs, config, 1, oracle)

    def distance(found: Tensor) -> float:
        return float((found.float() - exact).pow(2).mean().sqrt())

    assert distance(ours) <= 1.3 * distance(expected)


def in_bf16(
    theirs: Any, config: TransformerConfig, references: int, oracle: SimpleNamespace
) -> tuple[Tensor, Tensor, Tensor]:
    """Our velocity in bf16, theirs in bf16, ours in fp32; all of the same rounded numbers."""
    theirs.to(torch.bfloat16)
    ours = oracle.our_transformer(theirs, config)
    drawn, context, others = (
        tuple(one.bfloat16() for one in given) if isinstance(given, tuple) else given.bfloat16()
        for given in inputs(config, references)
    )
    level, guidance = (torch.tensor([value]).bfloat16() for value in (0.4, 3.5))
    expected = oracle.their_velocity(
        theirs, drawn, context_BTC=context, references=others, level=level, guidance=guidance
    )
    # Theirs multiplies by 1000 in bf16, ours in fp32: so ours is given their product.
    rounded = {"levels": (float(level * 1000) / 1000,), "guidance": float(guidance * 1000) / 1000}
    fp32 = (drawn.float(), context.float(), tuple(other.float() for other in others))
    exact = our_velocity(ours, *fp32, **rounded, step=0)
    return our_velocity(ours.bfloat16(), *fp32, **rounded, step=0), expected, exact
