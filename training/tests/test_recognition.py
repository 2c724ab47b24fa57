"""What a picture shows can be learned from inside the network, and teaches the network in turn."""

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import Tensor

from linocut_training import edits as batches_of_edits
from linocut_training import recognition, transformer
from linocut_training.batches import Source
from linocut_training.concepts import CONCEPTS
from linocut_training.plans import Plan
from linocut_training.recognition import UNKNOWN, Readers
from linocut_training.state import Stretch
from linocut_training.tokens import Tokens

PLAN = Plan(batch=24, short_text=4, edit_share=1.0, muon_rate=1e-2, adam_rate=1e-2, save_every=1)
WIDTH = 32  # of the toy


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def readers(toy) -> Readers:
    """Readers that have learned nothing."""
    return Readers()


def test_at_first_all_things_are_as_likely_and_the_network_learns_nothing(readers) -> None:
    tokens = torch.randn(4, 6, WIDTH, generator=seeded()).requires_grad_()
    for reader in (readers.given, readers.shown):
        error = recognition.error(reader, tokens, [0, 1, 1, UNKNOWN])
        assert error.item() == pytest.approx(torch.tensor(float(len(CONCEPTS))).log().item())
        error.backward()
        assert not tokens.grad.any()
        assert reader.weight.grad.any()


def test_the_error_is_the_mean_of_those_that_are_known(readers) -> None:
    torch.nn.init.normal_(readers.given.weight, generator=seeded())
    tokens = torch.randn(3, 6, WIDTH, generator=seeded(1))

    def error(which: list[int], things: list[int]) -> Tensor:
        return recognition.error(readers.given, tokens[which], things)

    alone = [error([index], [thing]) for index, thing in ((0, 5), (2, 7))]
    torch.testing.assert_close(error([0, 1, 2], [5, UNKNOWN, 7]), sum(alone) / 2)
    assert not torch.allclose(alone[0], alone[1])


def test_where_no_thing_is_known_there_is_no_error_and_no_lack_of_a_gradient(readers) -> None:
    # Of two processes one may have none: a gradient that only the other has would not be averaged.
    error = recognition.error(readers.shown, torch.randn(2, 6, WIDTH), [UNKNOWN, UNKNOWN])
    assert error.item() == 0
    error.backward()
    assert readers.shown.weight.grad is not None
    assert not readers.shown.weight.grad.any()


def test_batches_tell_what_is_to_be_recognised(training_folder, which, monkeypatch) -> None:
    monkeypatch.setattr(batches_of_edits, "NUMBER_SHARE", 0.3)
    source = Source(training_folder, PLAN)
    edits = source._edits(0, Random(0))
    for latents, things in (
        (edits.clean_BCHW, edits.shown_things),
        (edits.references[0], edits.given_things),
    ):
        seen = [which(it) for it in latents]  # the number of a view, or what is put together
        assert things == [
            source.views[0][it].concept if isinstance(it, int) else UNKNOWN for it in seen
        ]
    assert set(edits.given_things) == {0, 1}
    assert set(edits.shown_things) == {0, 1, UNKNOWN}
    captioned = source._captioned(0, Random(0), None)
    assert not captioned.given_things
    for words, thing in zip(captioned.captions, captioned.shown_things, strict=True):
        names = () if thing == UNKNOWN else CONCEPTS[thing].names
        assert any(name in words.lower() for name in names) == (words != "")
    together = source._together(Random(0))
    assert set(together.shown_things) == {UNKNOWN}
    assert not together.given_things
    several = source._arranged(0, Random(0))
    assert several.shown_things == several.given_things == []


@pytest.mark.parametrize("grid", [0, 1])
def test_a_reader_reads_the_tokens_of_its_own_picture(grid, training_folder, monkeypatch) -> None:
    training = transformer.begin(training_folder, PLAN, Stretch())
    network, rng = training.network, seeded()
    batch, length = Source(training_folder, PLAN)._edits(grid, Random(0)), 12
    many, read = batch.clean_BCHW[0, 0].numel(), []
    monkeypatch.setattr(recognition, "error", lambda *asked: read.append(asked) or torch.ones(()))
    shape = len(batch.captions), length + 2 * many, WIDTH
    network.early.said, network.late.said = (torch.randn(shape, generator=rng) for _ in range(2))
    early, late = network.early.said, network.late.said
    assert transformer._unread(training, batch, length).item() == 2
    (shown, of_picture, things), (given, of_reference, those) = read
    assert (shown, given) == (training.readers.shown, training.readers.given)
    assert (things, those) == (batch.shown_things, batch.given_things)
    assert torch.equal(of_picture, late[:, length : length + many])
    assert torch.equal(of_reference, early[:, length + many :])
    assert network.early.said is network.late.said is None


@pytest.mark.parametrize(("share", "is_learned"), [(1.0, True), (0.0, False)])
def test_the_network_learns_to_be_read(
    share, is_learned, training_folder, alone, monkeypatch
) -> None:
    monkeypatch.setattr(transformer, "rate_share", lambda step, plan: 1)
    monkeypatch.setattr(transformer, "RECOGNITION_SHARE", share)
    monkeypatch.setattr(recognition, "RATE", 0)  # the readers stay as they are
    batch, tokens = Source(training_folder, PLAN)._edits(0, Random(0)), Tokens(training_folder)
    training, found = transformer.begin(training_folder, PLAN, Stretch()), []
    for reader in (training.readers.given, training.readers.shown):
        torch.nn.init.normal_(reader.weight, std=0.3, generator=seeded())
    for _ in range(40):
        losses = transformer._learn(training, PLAN, batch, tokens, length=12, generator=seeded())
        found.append(losses[transformer._Errors.LOGGED.index("recognition")].item())
    assert (found[-1] < 0.8 * found[0]) == is_learned


def test_readers_are_kept_with_the_training_and_are_no_part_of_the_network(
    training_folder, alone
) -> None:
    plan = replace(PLAN, steps=3, guided_steps=0, styled_steps=0, shaped_steps=0, batch=4)
    transformer.train(0, 1, training_folder, replace(plan, steps=2))
    training = transformer.begin(training_folder, plan, Stretch())
    assert training.readers.shown.weight.any()
    assert training.reading.state[training.readers.shown.weight]["step"] == 2
    transformer.train(0, 1, training_folder, plan)
    again = transformer.begin(training_folder, plan, Stretch())
    assert not torch.equal(again.readers.shown.weight, training.readers.shown.weight)
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert not any("reader" in name or "early" in name for name in state["network"])
