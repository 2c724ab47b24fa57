"""A training goes on from what a checkpoint holds."""

from pathlib import Path

import pytest
import torch

from linocut_training import autoencoder, export, shipped, transformer
from linocut_training.network import Network
from linocut_training.optim import Average
from linocut_training.plans import Plan
from linocut_training.transformer import Stretch, train


@pytest.fixture
def checkpoint(toy, training_folder, tmp_path) -> Path:
    """A toy checkpoint with random weights, exported from what `training_folder` has."""
    network, pictures = Network(3), autoencoder.Autoencoder(toy.autoencoder)
    for parameter in network.transformer.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    pictures.bn.running_mean.fill_(0.5)
    pictures.bn.num_batches_tracked.fill_(1)
    folder = tmp_path / "checkpoint"
    export.export(
        folder,
        transformer=network.transformer,
        text_state=network.text_encoder.state_dict(),
        autoencoder=pictures,
        tokenizer=training_folder / "tokenizer",
    )
    return folder


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
    growing = Plan(newest_share=0.5)
    assert transformer.begin(training_folder, growing, Stretch()).earlier is not None
    assert transformer.begin(training_folder, Plan(), Stretch()).earlier is None


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
