"""Windows of two things teach attention whose words are whose, and no other batch does."""

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor

from linocut_training import transformer
from linocut_training.batches import Source
from linocut_training.plans import Plan
from linocut_training.state import Stretch, Training
from linocut_training.tokens import Tokens

PLAN = Plan(
    steps=40, batch=8, short_text=4, edit_share=0, arranged_share=1, window_share=1,
    arranged_is_new=True, muon_rate=1e-2, adam_rate=1e-2,
)  # fmt: skip
LENGTH = 24


@pytest.fixture
def training(training_folder) -> Training:
    """One at its first step."""
    training = transformer.begin(training_folder, PLAN, Stretch())
    training.take_copies(PLAN)
    return training


def seeded() -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(0)


def test_only_two_names_are_told_apart(training, training_folder) -> None:
    source, tokens = Source(training_folder, PLAN), Tokens(training_folder)
    for batch, is_told in (
        (source._window("beside", Random(0)), True),
        (source._window("above", Random(0)), True),
        (source._window("two", Random(0)), False),
        (source._window("small", Random(0)), False),
        (source._captioned(0, Random(0), None), False),
        (source._edits(0, Random(0)), False),
    ):
        errors = transformer._errors(training, batch, tokens, LENGTH, seeded())
        assert (errors.binding.item() > 0) == is_told
        assert not training.network.attend_watched.seen
        shares = errors.velocity + transformer.REDRAWN_SHARE * errors.redrawn
        shares = shares + transformer.RECOGNITION_SHARE * errors.recognition
        assert errors.to_mend.item() == pytest.approx(
            (shares + transformer.BINDING_SHARE * errors.binding).item()
        )


def test_attention_learns_whose_words_are_whose(
    training, training_folder, alone, monkeypatch
) -> None:
    monkeypatch.setattr(transformer, "rate_share", lambda step, plan: 1)
    source, tokens = Source(training_folder, PLAN), Tokens(training_folder)
    batch, errors = source._window("beside", Random(0)), []
    # Without the large marks by which latents are told.
    batch = replace(batch, clean_BCHW=batch.clean_BCHW.clamp(-1, 1))
    for _ in range(30):
        losses: Tensor = transformer._learn(
            training, PLAN, batch, tokens, length=LENGTH, generator=seeded()
        )
        errors.append(losses[transformer._Errors.LOGGED.index("binding")].item())
    assert errors[0] > 0.5
    assert errors[-1] < 0.5 * errors[0]


def test_what_is_told_comes_from_the_places_of_the_things(training, training_folder) -> None:
    batch = Source(training_folder, PLAN)._window("beside", Random(0))
    tokens = Tokens(training_folder)
    turned = replace(batch, names=[list(reversed(names)) for names in batch.names])
    with torch.no_grad():
        for parameter in training.network.transformer.parameters():
            parameter.normal_(0, 0.3, generator=seeded())
    right, wrong = (
        transformer._errors(training, it, tokens, LENGTH, seeded()).binding
        for it in (batch, turned)
    )
    assert right != wrong
