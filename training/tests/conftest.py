"""A toy in place of MINI, a training folder full of small pictures, and one process that trains.

The toy has every part of the real shapes, with the same 32 pixels a token, and takes milliseconds
a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import settings
from PIL import Image, ImageDraw

from linocut.catalog import (
    AutoencoderConfig,
    ModelConfig,
    TextConditioning,
    TextEncoderConfig,
    TransformerConfig,
)
from linocut_training import autoencoder, export, network, text_encoder, transformer, views
from linocut_training.concepts import CONCEPTS, STYLES

os.environ["HF_HUB_OFFLINE"] = "1"  # a test never goes out
torch.set_num_threads(1)
settings.register_profile("linocut", parent=settings(), deadline=None, max_examples=50)
settings.load_profile("linocut")

TOY = ModelConfig(
    transformer=TransformerConfig(
        in_channels=8,
        context_channels=48,
        hidden_size=32,
        num_heads=2,
        num_double_blocks=2,
        num_single_blocks=2,
        axes=(4, 4, 4, 4),
        rope_theta=40.0,
    ),
    autoencoder=AutoencoderConfig(
        channels=(4, 4, 4, 4, 4), layers_per_block=1, norm_groups=2, latent_channels=2
    ),
    text_encoder=TextEncoderConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=24,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        num_layers=4,
    ),
    conditioning=TextConditioning(layers=(1, 2, 3), max_tokens=24),
    native_max_tokens=256,
    native_short_side=8,
)
WORDS = ("a red apple", "draw the apple on a blue background", "turn it into a sticker")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """The toy, which the whole recipe now takes for MINI; and it knows two concepts only.

    So few are on every grid: by their shares some grids would be empty.
    """
    for module in (autoencoder, export, network, text_encoder, transformer, views):
        monkeypatch.setattr(module, "MINI", TOY)
    monkeypatch.setattr(views, "CONCEPTS", CONCEPTS[:2])
    for share in ("CONCEPTS_OF_RATIOS", "CONCEPTS_ELSEWHERE"):
        monkeypatch.setattr(views, share, 1.0)
    return TOY


@pytest.fixture(name="network")
def untrained(toy: ModelConfig) -> network.Network:
    """The toy network as a training begins with it."""
    return network.Network(0)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """This process as the only one of a group, as workers of `parallel.launch` find themselves."""
    meeting = (tmp_path / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def cutouts() -> Callable[[Path], None]:
    """Draws the cut-outs of the first two concepts below a folder, in every style."""
    return draw_cutouts


def draw_cutouts(work: Path) -> None:
    """A disc and a square in another colour a style; their corners are clear."""
    for number, style in enumerate(STYLES.values()):
        folder = work / "cutouts" / style.source
        folder.mkdir(parents=True)
        for index, concept in enumerate(CONCEPTS[:2]):
            image = Image.new("RGBA", (48, 48), (0, 255, 0, 0))
            pen = ImageDraw.Draw(image)
            shape = (pen.ellipse, pen.rectangle)[index]
            shape((8, 8, 40, 40), (60 * number, 90 * index, 130, 255))
            image.save(folder / f"{concept.key}.png")


@pytest.fixture
def training_folder(tmp_path: Path, toy: ModelConfig) -> Path:
    """All that `transformer.train` reads, at toy size; latents tell their view's number."""
    work = tmp_path / "work"
    work.mkdir()
    text_encoder.make_tokenizer(list(WORDS), work / "tokenizer")
    torch.save(text_encoder.new_encoder().state_dict(), work / "text_encoder.pt")
    for grid in views.grids():
        count = len(list(views.views_on(grid)))
        latents = np.random.default_rng(0).standard_normal((count, 8, *grid)).astype(np.float16)
        latents[:, 0] = np.arange(count)[:, None, None]
        file = views.latents_file(work, grid)
        file.parent.mkdir(exist_ok=True)
        np.save(file, latents)
    return work
