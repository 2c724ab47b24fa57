"""Steps can be repeated, stopped and gone on with; guidance is learnt, then style, then shapes."""

from dataclasses import replace
from itertools import chain, pairwise, repeat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from linocut_training import canvases, transformer, views
from linocut_training.batches import Batch, Source
from linocut_training.network import Network
from linocut_training.plans import Plan
from linocut_training.state import Stretch
from linocut_training.tokens import Tokens
from linocut_training.transformer import averaged, noise_levels, rate_share, train

TINY = Plan(
    steps=2, guided_steps=2, styled_steps=2, shaped_steps=2, batch=3, short_text=4, save_every=1
)


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def test_noise_levels_lean_towards_noise() -> None:
    levels = noise_levels(20_000, seeded())
    assert levels.min() > 0
    assert levels.max() < 1
    assert levels.median() == pytest.approx(1 / (1 + np.exp(-0.8)), abs=0.01)
    assert (levels < 0.2).float().mean() > 0.01
    assert torch.equal(levels, noise_levels(20_000, seeded()))


def test_the_second_stage_goes_on_at_the_rate_where_the_first_ended() -> None:
    plan = Plan()
    shares = [rate_share(step, plan) for step in range(plan.guided_end)]
    assert shares[0] == 0
    assert shares[plan.steps // 2] == 1
    assert shares[plan.steps - 1] == shares[plan.steps] == transformer.STAGE_TWO_SHARE < 1
    assert 0 < shares[-1] < 0.01
    assert min(shares[1:]) > 0
    assert max(abs(after - now) for now, after in pairwise(shares[plan.steps // 50 :])) < 0.01
    assert all(after <= now for now, after in pairwise(shares[plan.steps // 50 :]))


@pytest.mark.parametrize(
    ("plan", "most"),
    [
        (Plan(steps=0, guided_steps=0, shaped_steps=0), transformer.STAGE_THREE_SHARE),
        (Plan(steps=0, guided_steps=0, styled_steps=0), 0.4),
        (Plan(steps=0, guided_steps=0, styled_steps=0, last_stage_share=0.7), 0.7),
    ],
)
def test_the_last_stages_begin_gently_and_end_with_nothing(plan, most) -> None:
    shares = [rate_share(step, plan) for step in range(plan.end)]
    top = shares.index(max(shares))
    assert shares[0] == 0 < shares[-1] < 0.01 * most
    assert top == transformer.WARM_UP
    assert shares[top] == pytest.approx(most, rel=0.1)
    assert all(after > now for now, after in pairwise(shares[: top + 1]))
    assert all(after < now for now, after in pairwise(shares[top:]))


def test_a_training_that_was_stopped_goes_on_as_it_would_have(
    training_folder, alone, monkeypatch
) -> None:
    work, batch = training_folder, Source.batch
    train(0, 1, work, TINY)
    straight = torch.load(work / "transformer.pt", weights_only=True)
    (work / "transformer.pt").unlink()

    def broken(source: Source, step: int, rank: int) -> Batch:
        if step == stop:
            raise KeyboardInterrupt
        return batch(source, step, rank)

    monkeypatch.setattr(Source, "batch", broken)
    for stop in range(1, TINY.end):  # noqa: B007 (`broken` reads it) - in each stage, and between
        with pytest.raises(KeyboardInterrupt):
            train(0, 1, work, TINY)
    stop = -1
    train(0, 1, work, TINY)
    resumed = torch.load(work / "transformer.pt", weights_only=True)
    assert resumed["step"] == TINY.end
    assert_same(resumed, straight)


def test_a_stretch_ends_when_its_time_is_up_and_the_next_goes_on(
    training_folder, alone, monkeypatch
) -> None:
    work, plan = training_folder, replace(TINY, steps=4, guided_steps=0, styled_steps=0,
                                         shaped_steps=0, save_every=50)  # fmt: skip
    train(0, 1, work, plan)
    straight = torch.load(work / "transformer.pt", weights_only=True)
    (work / "transformer.pt").unlink()
    answers = chain((False, False, False, True), repeat(False))
    monkeypatch.setattr(Stretch, "is_over", property(lambda self: next(answers)))
    train(0, 1, work, plan, Stretch())
    stopped = torch.load(work / "transformer.pt", weights_only=True)
    assert stopped["step"] == 3
    train(0, 1, work, plan)
    assert_same(torch.load(work / "transformer.pt", weights_only=True), straight)


def assert_same(found: object, wanted: object) -> None:
    """Equal to the last bit, however deep."""
    assert type(found) is type(wanted)
    if isinstance(wanted, Tensor):
        assert torch.equal(found, wanted)
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, (list, tuple)):
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


def test_what_comes_out_is_the_average_and_padding_stays_free(training_folder, alone, toy) -> None:
    work: Path = training_folder
    begun = Network(0)
    train(0, 1, work, TINY)
    network = averaged(work)
    state = torch.load(work / "transformer.pt", weights_only=True)
    for parameter, value in zip(network.parameters(), state["average"], strict=True):
        assert torch.equal(parameter, value)
    assert network.text_encoder.pads_are_zero(toy.conditioning.pad_token_id)
    moved = [
        name
        for (name, parameter), old in zip(
            network.named_parameters(), begun.parameters(), strict=True
        )
        if not torch.equal(parameter, old)
    ]
    assert any(name.startswith("text_encoder.model.layers.2.") for name in moved)
    assert "transformer.final_layer.linear.weight" in moved


def test_teacher_and_weaker_are_averages_of_the_first_stage_and_learn_no_more(
    training_folder, alone
) -> None:
    def after(steps: int, guided_steps: int) -> dict[str, object]:
        plan = replace(TINY, steps=steps, guided_steps=guided_steps, styled_steps=0,
                       shaped_steps=0, weaker_after=0.5)  # fmt: skip
        train(0, 1, training_folder, plan)
        return torch.load(training_folder / "transformer.pt", weights_only=True)

    early = after(1, 0)
    (training_folder / "transformer.pt").unlink()
    ended = after(2, 0)
    assert ended["teacher"] is None
    state = after(2, 2)
    assert_same(list(state["weaker"].values()), list(ended["weaker"].values()))
    assert_same(list(state["teacher"].values()), ended["average"])
    assert not torch.equal(state["average"][-1], ended["average"][-1])
    assert_same(list(ended["weaker"].values()), early["average"])
    pairs = zip(early["average"], ended["average"], strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_the_second_stage_learns_what_guidance_changes(training_folder, alone, monkeypatch) -> None:
    asked = []
    change = transformer.guidance.change

    def noted(teacher, weaker, rows, empty, scale_B) -> Tensor:
        asked.append((rows, empty))
        assert not teacher(rows, scale_B).requires_grad
        return change(teacher, weaker, rows, empty, scale_B)

    monkeypatch.setattr(transformer.guidance, "change", noted)
    train(0, 1, training_folder, TINY)
    assert len(asked) == TINY.guided_steps
    for rows, empty in asked:
        assert len(rows) == len(empty) <= TINY.batch
        assert all(row == empty[0] for row in empty)
        assert rows != empty


def test_the_third_stage_leaves_other_styles_from_where_the_second_ended(
    training_folder, alone, monkeypatch
) -> None:
    asked: list[tuple[list[list[int]], list[list[int]]]] = []
    styled = transformer.guidance.styled

    def noted(guided, rows, others, scale_B) -> Tensor:
        asked.append((rows, others))
        assert not guided(rows, scale_B).requires_grad
        return styled(guided, rows, others, scale_B)

    monkeypatch.setattr(transformer.guidance, "styled", noted)
    train(0, 1, training_folder, replace(TINY, styled_steps=0, shaped_steps=0))
    ended = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert ended["guided"] is None
    assert not asked
    train(0, 1, training_folder, TINY)
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert_same(list(state["guided"].values()), ended["average"])
    assert not torch.equal(state["average"][-1], ended["average"][-1])
    assert len(asked) == TINY.styled_steps
    assert any(rows != others for rows, others in asked)


@pytest.mark.parametrize(
    ("plan", "needed", "not_needed"),
    [
        (replace(TINY, shaped_steps=0), "guided", "styled"),
        (replace(TINY, styled_steps=0), "styled", "guided"),
    ],
)
def test_what_guidance_is_distilled_into_needs_a_last_stage_alone(
    plan, needed, not_needed, training_folder, alone
) -> None:
    train(0, 1, training_folder, replace(plan, steps=0, guided_steps=0))
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert state["step"] == 2
    assert state["teacher"] is state["weaker"] is state[not_needed] is None
    assert state[needed] is not None


def test_the_fourth_stage_teaches_canvases_what_was_learned_of_squares(
    training_folder, alone, monkeypatch
) -> None:
    seen = []
    around = canvases.around

    def noted(known, velocity, clean, square) -> Tensor:
        target = around(known, velocity, clean, square)
        seen.append((known, target))
        return target

    monkeypatch.setattr(canvases, "around", noted)
    plan = replace(TINY, styled_steps=1, edit_share=0.0, shaped_share=1.0)
    train(0, 1, training_folder, replace(plan, shaped_steps=0))
    ended = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert ended["styled"] is None
    assert not seen
    plan = replace(plan, shaped_steps=4)
    train(0, 1, training_folder, plan)
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert_same(list(state["styled"].values()), ended["average"])
    assert not torch.equal(state["average"][-1], ended["average"][-1])
    source = Source(training_folder, plan)
    steps = range(plan.styled_end, plan.end)
    batches = [source.batch(step, 0) for step in steps]
    assert len(seen) == sum(batch.square_BCHW is not None for batch in batches) > 0
    for known, target in seen:
        assert known.shape[-2:] == views.SQUARE
        assert target.shape[-2:] in views.grids()[1:]


def test_the_fourth_stage_keeps_squares_as_they_are(training_folder, alone) -> None:
    # Answers that are its teacher's own teach nothing: not even the optimisers move the network.
    plan = replace(TINY, steps=0, guided_steps=0, styled_steps=0, shaped_share=0.0, edit_share=0.0)
    train(0, 1, training_folder, replace(plan, shaped_steps=0))
    training = transformer.begin(training_folder, plan, Stretch())
    training.take_copies(plan)
    batch = Source(training_folder, plan).batch(0, 0)
    tokens = Tokens(training_folder)
    before = [it.clone() for it in training.network.parameters()]
    losses = transformer._learn(training, plan, batch, tokens, length=12, generator=seeded())
    by_name = dict(zip(transformer._Errors.LOGGED, losses.tolist(), strict=True))
    assert by_name.pop("recognition") >= 0  # of readers that have learned nothing yet
    assert max(by_name.values()) < 1e-9
    for one, other in zip(training.network.parameters(), before, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_products_in_bf16_learn_nearly_the_same_and_keep_fp32(training_folder, alone) -> None:
    found = []
    for bf16 in (False, True):
        train(0, 1, training_folder, TINY, Stretch(bf16=bf16))
        found.append(torch.load(training_folder / "transformer.pt", weights_only=True)["network"])
        (training_folder / "transformer.pt").unlink()
    precise, rough = found
    name = "transformer.double_blocks.0.img_attn.qkv.weight"
    moved = (precise[name] - Network(0).state_dict()[name]).norm()
    assert not torch.equal(rough[name], precise[name])
    assert (rough[name] - precise[name]).norm() < 0.25 * moved
    assert all(value.dtype == torch.float32 for value in rough.values())


@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own modules
def test_a_compiled_training_learns_the_same(training_folder, alone) -> None:
    found, plan = [], replace(TINY, steps=1, guided_steps=1, styled_steps=1, other_share=0.0)
    plan = replace(plan, shaped_steps=1, shaped_share=0.0)
    for compiled in (False, True):
        train(0, 1, training_folder, plan, Stretch(compiled=compiled))
        found.append(torch.load(training_folder / "transformer.pt", weights_only=True))
        (training_folder / "transformer.pt").unlink()
    eager, compiled = found
    assert list(compiled["styled"]) == list(eager["styled"])
    for one, other in zip(compiled["average"], eager["average"], strict=True):
        assert (one - other).abs().max() < 1e-4
    assert any(value.any() for value in eager["readers"].values())
    for name, value in eager["readers"].items():
        assert (compiled["readers"][name] - value).abs().max() < 1e-4
