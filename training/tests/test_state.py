"""The state of a training: its teachers in their time, and all of it kept and found again."""

import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from linocut_training import transformer
from linocut_training.network import Network
from linocut_training.plans import Plan
from linocut_training.state import Stretch, Training

TINY = Plan(steps=4, guided_steps=2, styled_steps=2, shaped_steps=2, weaker_after=0.5)
TEACHERS = ("weaker", "teacher", "guided", "styled")


@pytest.fixture
def training(training_folder) -> Training:
    """One at its first step."""
    return transformer.begin(training_folder, TINY, Stretch())


def moved(training: Training, by: float = 1) -> Training:
    """The same after its weights and their averages have changed."""
    with torch.no_grad():
        for parameter in training.network.parameters():
            parameter.add_(by)
    training.average.update(training.network, 0.5)
    return training


def weights(network: Network) -> Tensor:
    """A few of them, which tell it from others."""
    return network.transformer.img_in.weight.detach().clone()


@pytest.mark.parametrize(("until", "is_over"), [(-1, True), (3600, False)])
def test_a_stretch_is_over_when_its_time_has_come(until, is_over) -> None:
    assert Stretch(until=time.time() + until).is_over is is_over
    assert not Stretch().is_over


def test_an_average_that_was_taken_is_apart(training) -> None:
    taken, network = training.averaged(), training.network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert not any(parameter.requires_grad for parameter in taken.parameters())
    assert not torch.equal(taken.transformer.img_in.weight, network.transformer.img_in.weight)


def test_what_is_taken_is_the_average_and_not_the_network(training) -> None:
    begun = weights(training.network)
    taken = moved(training).averaged()
    assert torch.allclose(weights(taken), begun + 0.5, atol=1e-6)
    pairs = zip(taken.parameters(), training.average.values, strict=True)
    assert all(torch.equal(parameter, value) for parameter, value in pairs)


def test_every_teacher_is_taken_once_at_its_step(training) -> None:
    due = {"weaker": 2, "teacher": 4, "guided": 6, "styled": 8}
    expected: dict[str, Tensor] = {}
    for step in range(TINY.end):
        training.step = step
        moved(training).take_copies(TINY)
        expected |= {
            name: weights(training.averaged()) for name, first in due.items() if step == first
        }
        there = {name for name in TEACHERS if getattr(training, name) is not None}
        assert there == {name for name, first in due.items() if step >= first}
        assert training.is_guided == (step >= TINY.steps)
        for name in there:
            assert torch.equal(weights(getattr(training, name)), expected[name])


@pytest.mark.parametrize(
    ("stages", "needed"),
    [({"styled_steps": 2}, "guided"), ({"styled_steps": 0}, "styled")],
)
def test_a_training_of_a_last_stage_alone_begins_with_its_teacher(stages, needed, training) -> None:
    training.take_copies(replace(TINY, steps=0, guided_steps=0, **stages))
    assert [name for name in TEACHERS if getattr(training, name) is not None] == [needed]
    assert training.is_guided


def test_what_was_saved_is_found_again_with_all_its_teachers(training, training_folder) -> None:
    for step in (2, 4, 6, 8):
        training.step = step
        moved(training).take_copies(TINY)
    training.network.transformer.img_in.weight.grad = torch.ones_like(weights(training.network))
    training.readers.shown.weight.grad = torch.ones_like(training.readers.shown.weight)
    for optimiser in (*training.optimisers, training.reading):
        optimiser.step()
    training.save(training_folder / "transformer.pt")
    again = transformer.begin(training_folder, TINY, Stretch())
    assert again.step == 8
    assert torch.equal(weights(again.network), weights(training.network))
    for name in TEACHERS:
        kept, before = getattr(again, name), getattr(training, name)
        assert torch.equal(weights(kept), weights(before))
        assert not any(parameter.requires_grad for parameter in kept.parameters())
    pairs = zip(again.average.values, training.average.values, strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert training.readers.shown.weight.any()
    assert torch.equal(again.readers.shown.weight, training.readers.shown.weight)
    momenta = [
        [
            value
            for optimiser in (*it.optimisers[:2], it.reading)
            for state in optimiser.state.values()
            for value in state.values()
        ]
        for it in (again, training)
    ]
    assert momenta[0]
    pairs = zip(*momenta, strict=True)
    assert all(torch.equal(torch.as_tensor(one), torch.as_tensor(other)) for one, other in pairs)


def test_a_teacher_that_was_not_there_yet_is_not_there_again(training, training_folder) -> None:
    training.step = 2
    training.take_copies(TINY)
    training.save(training_folder / "transformer.pt")
    again = transformer.begin(training_folder, TINY, Stretch())
    assert [name for name in TEACHERS if getattr(again, name) is not None] == ["weaker"]


def test_a_checkpoint_is_taken_from_its_file_and_learns_no_more(training, training_folder) -> None:
    before = Network(7)
    torch.save(before.state_dict(), training_folder / "before.pt")
    assert training.earlier is None
    taken = training.frozen_from(training_folder / "before.pt")
    assert torch.equal(weights(taken), weights(before))
    assert not any(parameter.requires_grad for parameter in taken.parameters())
    assert training.frozen_from(training_folder / "another.pt") is None


@pytest.mark.parametrize("known", ["nothing", "drawn styles"])
def test_the_checkpoint_that_teaches_is_that_of_the_work_folder(known, training_folder) -> None:
    plan = replace(TINY, known=known)
    assert transformer.begin(training_folder, plan, Stretch()).earlier is None
    torch.save(Network(7).state_dict(), training_folder / transformer.EARLIER)
    there = transformer.begin(training_folder, plan, Stretch())
    assert (there.earlier is None) == (known == "nothing")
    assert there.earlier is None or torch.equal(weights(there.earlier), weights(Network(7)))
    assert not there.is_guided


@pytest.mark.parametrize("leads_away", [True, False])
def test_whether_teachers_lead_away_from_other_styles_is_the_plans_to_say(
    leads_away, training_folder
) -> None:
    plan = replace(TINY, leads_away=leads_away)
    assert transformer.begin(training_folder, plan, Stretch()).leads_away is leads_away


def test_a_training_that_kept_no_readers_says_what_to_do(training, training_folder) -> None:
    file = training_folder / "transformer.pt"
    training.save(file)
    state = torch.load(file, weights_only=True)
    del state["readers"]
    torch.save(state, file)
    with pytest.raises(ValueError, match=r"transformer\.pt was begun by .* in a new work folder"):
        transformer.begin(training_folder, TINY, Stretch())
