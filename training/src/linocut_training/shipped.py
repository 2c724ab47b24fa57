"""Goes on from a finished checkpoint: its networks become states of the work folder.

The optimisers' memories are not part of a checkpoint, so that a training that goes on from one
warms up anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_autoencoder, load_text_encoder, load_transformer
from linocut_training import autoencoder, transformer
from linocut_training.network import Network
from linocut_training.optim import Average
from linocut_training.parallel import save_state
from linocut_training.plans import WHOLE
from linocut_training.state import Stretch


def go_on_from(folder: Path, work: Path) -> None:
    """States of autoencoder, text encoder and transformer in `work`, as the checkpoint has them.

    What stands in `work` already stays. The autoencoder counts as trained, the transformer as
    about to take its first step.
    """
    checkpoint = open_checkpoint(str(folder))
    if not (work / "tokenizer").exists():
        shutil.copytree(checkpoint.folder / "tokenizer", work / "tokenizer")
    if not (work / "autoencoder.pt").exists():
        model = load_autoencoder(checkpoint, device="cpu", dtype=torch.float32)
        plan = autoencoder.Plan()
        optimisers = autoencoder.optimisers_of(model, plan)
        save_state(work / "autoencoder.pt", {
            "model": model.state_dict(), "average": Average(model).values, "step": plan.steps,
            "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        })  # fmt: skip
    if not (work / "text_encoder.pt").exists():
        encoder = load_text_encoder(checkpoint, device="cpu", dtype=torch.float32)
        save_state(work / "text_encoder.pt", encoder.state_dict())
    if not (work / "transformer.pt").exists():
        training = transformer.begin(work, WHOLE, Stretch())
        training.network.load_state_dict(network_of(folder).state_dict())
        training.average = Average(training.network)
        training.save(work / "transformer.pt")
        if not (work / transformer.EARLIER).exists():
            save_state(work / transformer.EARLIER, training.network.state_dict())


def network_of(folder: Path) -> Network:
    """A finished checkpoint's text encoder and transformer, fp32."""
    checkpoint, network = open_checkpoint(str(folder)), Network(0)
    for load, target in (
        (load_text_encoder, network.text_encoder),
        (load_transformer, network.transformer),
    ):
        target.load_state_dict(load(checkpoint, device="cpu", dtype=torch.float32).state_dict())
    return network
