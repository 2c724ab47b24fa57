"""In stage four every picture has its teacher: a checkpoint, the stage before, or itself."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from linocut_training import batches, teachers, transformer
from linocut_training.batches import Batch, Source
from linocut_training.concepts import CONCEPTS, RIVALS
from linocut_training.guidance import Velocity
from linocut_training.network import Network
from linocut_training.optim import Average
from linocut_training.plans import ENRICHING, Plan
from linocut_training.state import Stretch, Training
from linocut_training.tiles import Place
from linocut_training.tokens import Tokens

TINY = Plan(
    steps=0, guided_steps=0, styled_steps=0, shaped_steps=2, batch=6, short_text=4, save_every=1,
    edit_share=0.0, arranged_share=0.0, shaped_share=0.0, known="things before",
)  # fmt: skip


LENGTH = 64  # of the longest caption, and more


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def begun(work: Path, plan: Plan, *, leads_away: bool = False) -> Training:
    """A training of stage four whose two teachers answer differently, and with words."""
    plan = replace(plan, leads_away=leads_away)
    before = transformer.begin(work, plan, Stretch()).network
    scramble(before, 1)
    torch.save(before.state_dict(), work / transformer.EARLIER)
    training = transformer.begin(work, plan, Stretch())
    scramble(training.network, 2)
    training.average = Average(training.network)
    training.take_copies(plan)
    return training


def scramble(network: Network, seed: int) -> None:
    """Gives a new network an answer that depends on all that it is given."""
    with torch.no_grad():
        for parameter in network.transformer.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(seed)))


def calm(batch: Batch) -> Batch:
    """The same without the large marks by which latents are told: they leave few digits."""
    square = batch.square_BCHW
    return replace(
        batch,
        clean_BCHW=batch.clean_BCHW.clamp(-3, 3),
        square_BCHW=None if square is None else square.clamp(-3, 3),
    )


def target_of(training: Training, batch: Batch, tokens: Tokens, scale: float | Tensor) -> Tensor:
    """What stage four teaches of a batch half in noise, at one guidance or one each."""
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    t_B = torch.full((len(batch.captions),), 0.5)
    return teachers.guided(
        training, batch, tokens, noise=noise, t_B=t_B, scale_B=scale * torch.ones_like(t_B),
        length=LENGTH,
    )  # fmt: skip


def answer(network: Network, batch: Batch, rows: list[list[int]], scale: float) -> Tensor:
    """What a network says of the same, under those words."""
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    t_B = torch.full((len(rows),), 0.5)
    noisy = torch.lerp(batch.clean_BCHW, noise, t_B[:, None, None, None])
    return teachers.answers(network, noisy, t_B, LENGTH)(rows, scale * torch.ones_like(t_B))


@pytest.mark.parametrize(("known", "who"), [(1, "both"), (2, "earlier"), (0, "styled")])
def test_what_was_known_is_taught_by_the_checkpoint_before(
    known, who, training_folder, alone, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:known])
    # Off the square there are plain backgrounds alone: gradients the first editions did not know.
    plan = replace(TINY, newest_share=0.5, batch=8, shaped_share=1.0)
    before = transformer.begin(training_folder, plan, Stretch()).network
    with torch.no_grad():
        for parameter in before.transformer.final_layer.parameters():
            parameter.normal_(0, 0.3)
    torch.save(before.state_dict(), training_folder / transformer.EARLIER)
    training = transformer.begin(training_folder, plan, Stretch())
    training.take_copies(plan)
    said = {"earlier": training.earlier, "styled": training.styled}
    tokens, asked = Tokens(training_folder), []
    answers = teachers.answers

    def noted(network, noisy, *more) -> object:
        asked.append((network, len(noisy)))
        return answers(network, noisy, *more)

    monkeypatch.setattr(teachers, "answers", noted)
    for step in range(4):
        batch = Source(training_folder, plan).batch(step, 0)
        asked.clear()
        transformer._errors(training, batch, tokens, 12, seeded())
        counts = {"earlier": sum(batch.known), "styled": batch.known.count(False)}
        assert {name: sum(n for by, n in asked if by is said[name]) for name in said} == counts
        assert who == "both" or counts[who] == len(batch.known)


def test_each_picture_gets_the_answer_of_its_own_teacher(
    training_folder, alone, monkeypatch
) -> None:
    # Two teachers that say what the learner says itself: whatever is mixed up would be a loss.
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    plan = replace(TINY, newest_share=0.5)
    learner = transformer.begin(training_folder, plan, Stretch()).network
    with torch.no_grad():
        learner.transformer.final_layer.linear.weight.normal_(0, 0.3)
    torch.save(learner.state_dict(), training_folder / transformer.EARLIER)
    training = transformer.begin(training_folder, plan, Stretch())
    training.network.load_state_dict(learner.state_dict())
    training.average = Average(training.network)
    training.take_copies(plan)
    tokens, known = Tokens(training_folder), []
    for step in range(3):
        batch = Source(training_folder, plan).batch(step, 0)
        known += batch.known
        assert transformer._errors(training, batch, tokens, 12, seeded()).velocity.item() < 1e-9
    assert True in known
    assert False in known


@pytest.mark.parametrize("grid", [0, 1])
def test_where_it_is_to_lead_away_only_what_has_a_rival_is_taught_otherwise(
    grid, training_folder, monkeypatch
) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    training = begun(training_folder, TINY, leads_away=True)
    batch = calm(Source(training_folder, TINY)._captioned(grid, Random(0), None, most=24))
    tokens = Tokens(training_folder)
    leading = {scale: target_of(training, batch, tokens, scale) for scale in (1.0, 3.0)}
    training.leads_away = False
    plain = {scale: target_of(training, batch, tokens, scale) for scale in (1.0, 3.0)}
    torch.testing.assert_close(leading[1.0], plain[1.0], atol=1e-4, rtol=1e-4)
    away = (leading[3.0] - plain[3.0]).flatten(1).abs().amax(1)
    is_rivalled = [
        words != other for words, other in zip(batch.captions, batch.others, strict=True)
    ]
    assert 0 < sum(is_rivalled) < len(is_rivalled)
    assert [bool(it > 1e-2) for it in away] == is_rivalled
    assert {any(words in text.lower() for words in RIVALS) for text, it in
            zip(batch.captions, is_rivalled, strict=True) if it} == {True}  # fmt: skip


def test_each_teacher_leads_away_by_its_own_answers(training_folder, monkeypatch) -> None:
    monkeypatch.setattr(batches, "BEFORE", CONCEPTS[:1])
    training = begun(training_folder, TINY, leads_away=True)
    batch = calm(Source(training_folder, TINY)._captioned(0, Random(0), None, most=24))
    tokens = Tokens(training_folder)
    target = target_of(training, batch, tokens, 3.0)
    rows, others = tokens.rows(batch.captions), tokens.rows(batch.others)
    by_known = {
        known: (answer(network, batch, rows, 3.0), answer(network, batch, others, 3.0))
        for known, network in ((True, training.earlier), (False, training.styled))
    }
    assert len(set(batch.known)) == 2
    for index, known in enumerate(batch.known):
        said, instead = (it[index] for it in by_known[known])
        wanted = said + 0.5 * (3 - 1) * (said - instead)
        torch.testing.assert_close(target[index], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grid", [0, 1])
def test_what_no_teacher_knows_is_taught_by_the_picture_and_the_learner_alone(
    grid, training_folder, monkeypatch
) -> None:
    training = begun(training_folder, TINY)
    plan = replace(TINY, arranged_is_new=True)
    batch = calm(Source(training_folder, plan)._arranged(grid, Random(0)))
    assert batch.is_new
    others = [words if index % 2 else "" for index, words in enumerate(batch.captions[::-1])]
    batch = replace(batch, others=others)
    tokens, answers, asked = Tokens(training_folder), teachers.answers, []

    def noted(network: Network, *given: Tensor) -> Velocity:
        asked.append(network)
        return answers(network, *given)

    scramble(training.network, 3)
    rows, others = tokens.rows(batch.captions), tokens.rows(batch.others)
    push = answer(training.network, batch, rows, 1.0) - answer(training.network, batch, others, 1.0)
    monkeypatch.setattr(teachers, "answers", noted)
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    for scale in (1.0, 4.0):
        target = target_of(training, batch, tokens, scale)
        wanted = noise - batch.clean_BCHW + 0.75 * (scale - 1) * push
        torch.testing.assert_close(target, wanted, atol=1e-4, rtol=1e-4)
        assert not target.requires_grad
    assert push.abs().max() > 1e-3
    assert set(map(id, asked)) == {id(training.network)}


def test_the_learner_is_asked_where_there_is_guidance_alone(training_folder, monkeypatch) -> None:
    training, tokens = begun(training_folder, TINY), Tokens(training_folder)
    batch = calm(
        Source(training_folder, replace(TINY, arranged_is_new=True))._arranged(0, Random(0))
    )
    scramble(training.network, 3)
    alike = target_of(training, batch, tokens, 3.0)
    answers, sizes = teachers.answers, []

    def noted(network: Network, noisy: Tensor, *given) -> Velocity:
        sizes.append(len(noisy))
        return answers(network, noisy, *given)

    monkeypatch.setattr(teachers, "answers", noted)
    scale_B = torch.ones(len(batch.captions))
    scale_B[1::3] = 3.0
    target = target_of(training, batch, tokens, scale_B)
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    plain = noise - batch.clean_BCHW
    wanted = torch.where((scale_B == 3)[:, None, None, None], alike, plain)
    torch.testing.assert_close(target, wanted, atol=1e-3, rtol=1e-4)
    assert (alike - plain).abs().max() > 0.1
    assert sizes == [len(scale_B[1::3])]


def test_of_what_no_teacher_knows_more_than_half_has_no_guidance(
    training_folder, monkeypatch
) -> None:
    training, asked = begun(training_folder, TINY), []
    guided = teachers.guided

    def noted(*given, scale_B: Tensor, **more: Tensor) -> Tensor:
        asked.append((scale_B == 1).float().mean().item())
        return guided(*given, scale_B=scale_B, **more)

    monkeypatch.setattr(teachers, "guided", noted)
    tokens = Tokens(training_folder)
    for is_new in (True, False):
        plan = replace(TINY, arranged_is_new=is_new, batch=120)
        batch = Source(training_folder, plan)._arranged(0, Random(0))
        transformer._errors(training, batch, tokens, 24, seeded())
    assert 0.5 < asked[0] < 0.7
    assert asked[1] == 0


def test_parts_of_pictures_are_learned_at_their_place_without_guidance(
    training_folder, monkeypatch
) -> None:
    def nobody(*_: object, **__: object) -> Velocity:
        raise AssertionError("somebody was asked")

    training, beside = begun(training_folder, TINY), Network.beside
    batch = Source(training_folder, replace(TINY, arranged_is_new=True))._window("two", Random(0))
    seen, tokens = [], Tokens(training_folder)

    def noted(network: Network, *given: Tensor, corner: Place) -> tuple[Tensor, Tensor | None]:
        said = beside(network, *given, corner=corner)
        seen.append((given[2], corner, said[0]))
        return said

    monkeypatch.setattr(teachers, "answers", nobody)
    monkeypatch.setattr(Network, "beside", noted)
    errors = transformer._errors(training, batch, tokens, 24, seeded())
    ((scale_B, corner, guess),) = seen
    assert (scale_B == 1).all()
    assert corner == (2, 0)
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    error_B = (guess - (noise - batch.clean_BCHW)).square().mean((1, 2, 3))
    assert torch.equal(errors.velocity, error_B.mean())


def test_before_guidance_is_an_input_what_is_new_is_learned_as_all_else(
    training_folder, monkeypatch
) -> None:
    def nobody(*_: object, **__: object) -> Velocity:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(teachers, "answers", nobody)
    plan = replace(TINY, steps=2, arranged_is_new=True)
    training = transformer.begin(training_folder, plan, Stretch())
    training.take_copies(plan)
    batch = Source(training_folder, plan)._arranged(0, Random(0))
    target = target_of(training, batch, Tokens(training_folder), 1.0)
    noise = torch.randn(batch.clean_BCHW.shape, generator=seeded())
    assert torch.equal(target, noise - batch.clean_BCHW)


def test_an_enriching_training_learns_of_all_kinds_of_batches(training_folder, alone) -> None:
    plan = replace(ENRICHING, shaped_steps=14, batch=3, taught_batch=2, save_every=50)
    training = begun(training_folder, plan, leads_away=True)
    training.save(training_folder / "transformer.pt")
    before = training.average.values[0].clone()
    transformer.train(0, 1, training_folder, plan)
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert state["step"] == 14
    assert not torch.equal(state["average"][0], before)
    assert all(value.isfinite().all() for value in state["average"])
    kept = torch.load(training_folder / transformer.EARLIER, weights_only=True)
    assert all(
        torch.equal(kept[name], value) for name, value in training.earlier.state_dict().items()
    )
