"""Edits learn from pictures alone, and what stands where the reference is learns with them."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linocut_training import transformer
from linocut_training.batches import Source
from linocut_training.plans import Plan
from linocut_training.transformer import Stretch

TINY = Plan(
    steps=2, guided_steps=2, styled_steps=2, shaped_steps=2, batch=3, short_text=4, save_every=1
)


def seeded() -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_edits_learn_from_pictures_in_every_stage(
    stage, training_folder, alone, monkeypatch
) -> None:
    # Neither teachers nor guidance are asked; a network that is right about both has no error.
    steps = [2 if number == stage else 0 for number in range(1, 5)]
    names = ("steps", "guided_steps", "styled_steps", "shaped_steps")
    plan = replace(TINY, **dict(zip(names, steps, strict=True)), edit_share=1.0)
    training = transformer.begin(training_folder, plan, Stretch())
    training.take_copies(plan)
    assert training.is_guided == (stage > 1)
    monkeypatch.setattr(transformer, "_answers", None)
    batch, tokens = Source(training_folder, plan).batch(0, 0), transformer.Tokens(training_folder)
    assert batch.reference_BCHW is not None
    clean = batch.clean_BCHW

    def right(noisy, t_B, scale_B, text, reference) -> tuple[Tensor, Tensor]:
        assert (scale_B != 1).any() == (stage > 1)
        level = t_B[:, None, None, None]
        return (noisy - clean) / level + (1 - right.share), -clean * right.share

    monkeypatch.setattr(training.network, "beside", right)
    for right.share, errors in ((1.0, (0, 0)), (0.0, (1, clean.square().mean().item()))):
        error, _, redrawn = transformer._errors(training, batch, tokens, 12, seeded())
        assert (error.item(), redrawn.item()) == pytest.approx(errors, abs=1e-4)


def test_what_stands_where_the_reference_is_learns_as_well(training_folder, alone) -> None:
    plan = replace(TINY, edit_share=1.0)
    tokens, batch = transformer.Tokens(training_folder), Source(training_folder, plan).batch(0, 0)
    batch = replace(batch, clean_BCHW=torch.ones_like(batch.clean_BCHW))  # quick to learn
    found = []
    for share in (0.0, transformer.REDRAWN_SHARE):
        training = transformer.begin(training_folder, plan, Stretch())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformer, "REDRAWN_SHARE", share)
            patch.setattr(transformer, "rate_share", lambda step, plan: 1)
            for _ in range(5):
                transformer._learn(training, plan, batch, tokens, length=12, generator=seeded())
        found.append(transformer._errors(training, batch, tokens, 12, seeded())[2].item())
    assert found[1] < 0.9 * found[0]


def test_half_the_noisier_edits_begin_with_what_the_network_takes_them_for() -> None:
    noise = torch.arange(1, 1001.0).reshape(1000, 1, 1, 1)
    t_B = torch.tensor([0.9, 0.4]).repeat(500)

    def network(noisy: Tensor, level_B: Tensor) -> Tensor:
        assert torch.equal(noisy, noise)
        assert (level_B == 1).all()
        return noisy / 2

    shown = transformer._mistaken(network, torch.zeros_like(noise), noise, t_B, seeded())
    its_own = shown.flatten() != 0
    assert torch.equal(shown.flatten()[its_own], noise.flatten()[its_own] / 2)
    assert not its_own[1::2].any()
    assert abs(its_own[::2].float().mean() - transformer.MISTAKEN_SHARE) < 0.07


def test_many_edits_are_noise_alone() -> None:
    levels = transformer.noise_levels(20_000, seeded(), transformer.NOISE_ALONE_SHARE)
    alone = levels == 1
    assert alone.float().mean() == pytest.approx(transformer.NOISE_ALONE_SHARE, abs=0.02)
    assert torch.equal(levels[~alone], transformer.noise_levels(20_000, seeded())[~alone])
