"""Edits learn from pictures and from a teacher, and so does what stands where the reference is."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linocut_training import batches, guidance, teachers, transformer
from linocut_training.batches import Batch, Source
from linocut_training.concepts import CONCEPTS
from linocut_training.network import Network
from linocut_training.optim import Average
from linocut_training.plans import Plan
from linocut_training.state import Stretch, Training
from linocut_training.tokens import Tokens

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
    # Where there is no guidance nobody is asked, and who is right has no error.
    steps = [2 if number == stage else 0 for number in range(1, 5)]
    names = ("steps", "guided_steps", "styled_steps", "shaped_steps")
    plan = replace(TINY, **dict(zip(names, steps, strict=True)), edit_share=1.0)
    training = transformer.begin(training_folder, plan, Stretch())
    training.take_copies(plan)
    assert training.is_guided == (stage > 1)

    def nobody(*_: object) -> guidance.Velocity:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(teachers, "answers", nobody)
    monkeypatch.setattr(guidance, "scales", lambda count, *_, **__: torch.ones(count))
    batch, tokens = Source(training_folder, plan).batch(0, 0), Tokens(training_folder)
    assert len(batch.references) == 1
    clean = batch.clean_BCHW

    def right(noisy, t_B, scale_B, text, references, **_) -> tuple[Tensor, list[Tensor]]:
        level, (given,), (asked,) = t_B[:, None, None, None], batch.references, references
        its = clean[[next(i for i, it in enumerate(given) if it.equal(one)) for one in asked]]
        return (noisy - its) / level + (1 - right.share), [-its * right.share]

    monkeypatch.setattr(training.network, "beside", right)
    monkeypatch.setattr(transformer, "_unread", lambda *_: torch.zeros(()))  # nothing is inside
    for right.share, wanted in ((1.0, (0, 0)), (0.0, (1, clean.square().mean().item()))):
        found = transformer._errors(training, batch, tokens, 12, seeded())
        assert (found.velocity.item(), found.redrawn.item()) == pytest.approx(wanted, abs=1e-4)


def moved(network: Network, by: float) -> None:
    """Every weight of the transformer is another one afterwards."""
    with torch.no_grad():
        for parameter in network.transformer.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=seeded()))


@pytest.fixture
def begun(training_folder, monkeypatch) -> tuple[Training, Batch, Tokens]:
    """A training of stage four that has learned a little, and edits of old things and new ones."""
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    monkeypatch.setattr(transformer, "MISTAKEN_SHARE", 0)
    plan = replace(
        TINY, steps=0, guided_steps=0, styled_steps=0, edit_share=1.0, batch=80,
        new_things_share=0.5, leads_away=True,
    )  # fmt: skip
    training = transformer.begin(training_folder, plan, Stretch())
    moved(training.network, 0.2)
    training.average = Average(training.network)
    training.take_copies(plan)
    moved(training.network, 0.05)
    batch = Source(training_folder, plan).batch(0, 0)
    batch = replace(
        batch,
        clean_BCHW=batch.clean_BCHW.clamp(-3, 3),
        references=tuple(it.clamp(-3, 3) for it in batch.references),
    )
    return training, batch, Tokens(training_folder)


def test_a_guided_edit_learns_its_wanted_picture_moved_as_words_for_it_are(begun) -> None:
    training, batch, tokens = begun
    rng, count, length, clean = seeded(), len(batch.captions), 64, batch.clean_BCHW
    noise = torch.randn(clean.shape, generator=rng)
    t_B = transformer.noise_levels(count, rng, transformer.NOISE_ALONE_SHARE)
    scale_B = guidance.scales(count, rng, plain_share=guidance.PLAIN_SHARE)
    seen_B, ones, led_B = t_B.clamp(max=0.9), torch.ones(count), scale_B.clamp(1, 3)
    level, seen = t_B[:, None, None, None], seen_B[:, None, None, None]
    push = (led_B - 1)[:, None, None, None]

    def said(network: Network, words: list[str], scales_B: Tensor) -> Tensor:
        text = transformer.context(network.text_encoder, tokens.rows(words), length)
        answer: Tensor = network(torch.lerp(clean, noise, seen), seen_B, scales_B, text)
        return answer

    with torch.no_grad():
        asked, other = (said(training.styled, it, led_B) for it in (batch.told, batch.others))
        taught = asked + guidance.STYLE_SHARE * push * (asked - other)
        taught -= said(training.styled, batch.told, ones)
        told, none = (said(training.network, it, ones) for it in (batch.told, batch.others))
        own = guidance.OWN_SHARE * push * (told - none)
        text = transformer.context(training.network.text_encoder, tokens.rows(batch.captions), 64)
        noisy = torch.lerp(clean, noise, level)
        guess = training.network(noisy, t_B, scale_B, text, batch.references)
    is_known = torch.tensor(batch.known)[:, None, None, None]
    added = torch.where(is_known, taught, own) * (led_B > 1)[:, None, None, None]
    for some in (batch.known, [not it for it in batch.known]):
        assert added[torch.tensor(some)].abs().max() > 0.05
    assert (t_B == 1).any()
    assert (scale_B > 3).any()
    target = (noisy - clean + seen * added) / level
    error = transformer._errors(training, batch, tokens, length, seeded()).velocity
    assert error.item() == pytest.approx((guess - target).square().mean().item(), rel=1e-4)
    error.backward()
    assert all(it.grad is None for it in training.styled.parameters())
    assert training.network.transformer.img_in.weight.grad.abs().max() > 0


def test_what_stands_where_the_reference_is_learns_as_well(training_folder, alone) -> None:
    plan = replace(TINY, edit_share=1.0)
    tokens, batch = Tokens(training_folder), Source(training_folder, plan).batch(0, 0)
    batch = replace(batch, clean_BCHW=torch.ones_like(batch.clean_BCHW))  # quick to learn
    found = []
    for share in (0.0, transformer.REDRAWN_SHARE):
        training = transformer.begin(training_folder, plan, Stretch())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformer, "REDRAWN_SHARE", share)
            patch.setattr(transformer, "rate_share", lambda step, plan: 1)
            for _ in range(5):
                transformer._learn(training, plan, batch, tokens, length=12, generator=seeded())
        found.append(transformer._errors(training, batch, tokens, 12, seeded()).redrawn.item())
    assert found[1] < 0.9 * found[0]


def test_most_edits_begin_with_what_the_network_takes_the_picture_for() -> None:
    noise = torch.arange(1, 1501.0).reshape(1500, 1, 1, 1)
    t_B, clean = torch.tensor([0.9, 0.4, 1.0]).repeat(500), torch.zeros_like(noise)
    batch = Batch(clean, [""] * 1500, references=(2 * noise,))
    asked = []

    def network(noisy, level_B, scale_B, text_B, references) -> Tensor:
        assert (level_B == 1).all()
        (reference,) = references
        for its in (scale_B, text_B, reference.flatten() / 2):
            assert torch.equal(its, noisy.flatten())  # each has what belongs to it
        asked.append(len(noisy))
        return noisy / 2

    one_each = noise.flatten()
    shown = transformer._shown(network, batch, noise=noise, t_B=t_B, scale_B=one_each,
                               text=one_each, generator=seeded())  # fmt: skip
    its_own = shown.flatten() != 0
    assert torch.equal(shown.flatten()[its_own], one_each[its_own] / 2)
    assert not its_own[t_B != 0.9].any()  # later it has done its harm; noise alone shows nothing
    assert abs(its_own[t_B == 0.9].float().mean() - transformer.MISTAKEN_SHARE) < 0.05
    assert asked == [its_own.sum()]
    assert (clean == 0).all()


def test_many_edits_are_noise_alone() -> None:
    levels = transformer.noise_levels(20_000, seeded(), transformer.NOISE_ALONE_SHARE)
    alone = levels == 1
    assert alone.float().mean() == pytest.approx(transformer.NOISE_ALONE_SHARE, abs=0.02)
    assert torch.equal(levels[~alone], transformer.noise_levels(20_000, seeded())[~alone])
