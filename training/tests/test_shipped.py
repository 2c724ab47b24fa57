"""A training goes on from what a checkpoint holds."""

from pathlib import Path

import pytest
import torch

from linocut_training import autoencoder, export, shipped, transformer
from linocut_training.optim import Average
from linocut_training.plans import Plan
from linocut_training.state import Stretch
from linocut_training.transformer import train


@pytest.fixture
def checkpoint(exported) -> Path:
    """A toy checkpoint with random weights."""
    return exported(3)


def test_all_three_networks_come_from_the_checkpoint(checkpoint, tmp_path, toy) -> None:
    work = tmp_path / "new"
    work.mkdir()
    shipped.go_on_from(checkpoint, work)
    exported = tmp_path / "again"
    network = transformer.averaged(work)
    export.export(
        exported,
        transformer=network.transformer,
        text_state=network.text_encoder.state_dict(),
        autoencoder=autoencoder.trained(work),
        tokenizer=work / "tokenizer",
    )
    files = sorted(file.relative_to(checkpoint) for file in checkpoint.rglob("*.safetensors"))
    assert len(files) == 3
    for file in files:
        assert (exported / file).read_bytes() == (checkpoint / file).read_bytes()
    assert autoencoder.trained(work).bn.running_mean.mean() == 0.5


def test_the_checkpoint_is_remembered_for_what_it_knew(checkpoint, training_folder, toy) -> None:
    shipped.go_on_from(checkpoint, training_folder)
    kept = torch.load(training_folder / transformer.EARLIER, weights_only=True)
    begun = transformer.averaged(training_folder).state_dict()
    assert kept.keys() == begun.keys()
    assert all(torch.equal(kept[name], begun[name]) for name in kept)
    for known in ("things before", "drawn styles"):
        plan = Plan(known=known)
        assert transformer.begin(training_folder, plan, Stretch()).earlier is not None
    assert transformer.begin(training_folder, Plan(), Stretch()).earlier is None


def test_the_network_of_a_checkpoint_is_what_was_exported(checkpoint, tmp_path, toy) -> None:
    network = shipped.network_of(checkpoint)
    assert all(value.dtype == torch.float32 for value in network.state_dict().values())
    export.export(
        tmp_path / "again",
        transformer=network.transformer,
        text_state=network.text_encoder.state_dict(),
        autoencoder=autoencoder.Autoencoder(toy.autoencoder),
        tokenizer=checkpoint / "tokenizer",
    )
    files = {file.relative_to(checkpoint): file for file in checkpoint.rglob("*.safetensors")}
    for name, file in files.items():
        is_same = (tmp_path / "again" / name).read_bytes() == file.read_bytes()
        assert is_same == (name.parts[0] != "vae")
    assert len(files) == 3


def test_what_stands_in_the_folder_stays(checkpoint, training_folder) -> None:
    encoder = (training_folder / "text_encoder.pt").read_bytes()
    shipped.go_on_from(checkpoint, training_folder)
    assert (training_folder / "text_encoder.pt").read_bytes() == encoder
    state = (training_folder / "transformer.pt").read_bytes()
    shipped.go_on_from(checkpoint, training_folder)
    assert (training_folder / "transformer.pt").read_bytes() == state


def test_the_transformer_trains_on_from_there(checkpoint, training_folder, alone) -> None:
    shipped.go_on_from(checkpoint, training_folder)
    begun = transformer.averaged(training_folder)
    train(
        0,
        1,
        training_folder,
        Plan(steps=1, guided_steps=1, styled_steps=0, shaped_steps=0, batch=2, save_every=1),
    )
    trained = transformer.averaged(training_folder)
    state = torch.load(training_folder / "transformer.pt", weights_only=True)
    assert state["step"] == 2
    assert len(state["average"]) == len(Average(begun).values)
    pairs = list(zip(begun.parameters(), trained.parameters(), strict=True))
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert all((one - other).abs().mean() < 0.1 for one, other in pairs)
