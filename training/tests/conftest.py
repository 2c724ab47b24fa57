"""A toy in place of MINI, a training folder full of small pictures, and one process that trains.

The toy has every part of the real shapes, with the same 32 pixels a token, and takes milliseconds
a step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from hypothesis import settings
from PIL import Image, ImageDraw

from linocut.catalog import (
    MINI,
    AutoencoderConfig,
    ModelConfig,
    TextConditioning,
    TextEncoderConfig,
    TransformerConfig,
)
from linocut_training import (
    autoencoder,
    compositions,
    export,
    network,
    recognition,
    text_encoder,
    tiles,
    tokens,
    views,
)
from linocut_training.concepts import CONCEPTS, STYLES

Shown = int | tuple[int, dict[tiles.Place, tiles.Tile]]

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/kit"))  # shared with the service's tests
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
COLOURS_OF_TILES = 9  # so many that the toy's two things have some in common
STEP = 64  # between two tiles' marks: more than there are colours


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModelConfig:
    """The toy, which the whole recipe now takes for MINI; and it knows two concepts only.

    So few are on every grid: by their shares some grids would be empty.
    """
    for module in (autoencoder, export, network, recognition, text_encoder, tokens, views):
        monkeypatch.setattr(module, "MINI", TOY)
    for module in (views, tiles, compositions):
        monkeypatch.setattr(module, "CONCEPTS", CONCEPTS[:2])
    monkeypatch.setattr(tiles, "COLOURS", COLOURS_OF_TILES)
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


class Blurred:
    """In the autoencoder's place: every token is the mean colour of its pixels."""

    def __init__(self, stripe: float = 0) -> None:
        self.stripe = stripe  # in the first column of whatever is encoded

    def to(self, **_: object) -> None:
        """Nothing to move."""

    def encode(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Three channels that tell the picture, one that has the stripe, and nothing else."""
        means = F.avg_pool2d(pixels_BCHW, views.PIXELS)
        latents = F.pad(means, (0, 0, 0, 0, 0, MINI.transformer.in_channels - 3))
        latents[:, 3, :, 0] = self.stripe
        return latents


@pytest.fixture(scope="session")
def blurred() -> type[Blurred]:
    """An autoencoder of which it is known what it makes of a picture."""
    return Blurred


@pytest.fixture
def training_folder(tmp_path: Path, toy: ModelConfig) -> Path:
    """All that `transformer.train` reads, at toy size.

    Latents tell their view's number, or which tiles stand where (`which`).
    """
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
    save_tiles(work)
    return work


@pytest.fixture
def exported(toy: ModelConfig, training_folder: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Makes toy checkpoints of random weights, by a seed, with what `training_folder` has."""

    def export_with(seed: int) -> Path:
        weights, pictures = network.Network(seed), autoencoder.Autoencoder(toy.autoencoder)
        for parameter in weights.transformer.parameters():
            torch.nn.init.normal_(parameter, 0, 0.2)
        pictures.bn.running_mean.fill_(0.5)
        pictures.bn.num_batches_tracked.fill_(1)
        folder = tmp_path / f"checkpoint-{seed}"
        export.export(
            folder,
            transformer=weights.transformer,
            text_state=weights.text_encoder.state_dict(),
            autoencoder=pictures,
            tokenizer=training_folder / "tokenizer",
        )
        return folder

    return export_with


def save_tiles(work: Path) -> None:
    """Tiles and empty canvases: both have marks below zero, where no view has its number."""
    rng, count = np.random.default_rng(1), len(list(tiles.tiles()))
    latents = rng.standard_normal((count, 8, tiles.SIDE, tiles.SIDE)).astype(np.float16)
    latents[:, 0] = -STEP * np.arange(1, count + 1)[:, None, None]
    np.save(tiles.file_of(work), latents)
    for grid in views.grids_of_ratios():
        colours = len(views.COLOUR_NAMES)
        plain = rng.standard_normal((colours, 8, *grid)).astype(np.float16)
        plain[:, 0] = -np.arange(1, colours + 1)[:, None, None]
        np.save(tiles._plain_file(work, grid), plain)


@pytest.fixture(scope="session")
def which() -> Callable[[torch.Tensor], Shown]:
    """Tells what the latents of `training_folder` show."""
    return shown_by


def shown_by(latents_CHW: torch.Tensor) -> Shown:
    """The number of a view, or an empty canvas's colour and the tiles by their places on it."""
    marks = latents_CHW[0].round().int()
    if marks.min() >= 0:
        assert (marks == marks[0, 0]).all()
        return int(marks[0, 0])
    (colour,) = (-marks % STEP - 1).unique().tolist()
    of_tiles = (-marks // STEP - 1).tolist()
    every = list(tiles.tiles())
    found: dict[tiles.Place, tiles.Tile] = {}
    for row, column in product(range(len(of_tiles)), range(len(of_tiles[0]))):
        number = of_tiles[row][column]
        if number < 0 or any(row - top in range(tiles.SIDE) and column - left in range(tiles.SIDE)
                             for top, left in found):  # fmt: skip
            continue
        square = [line[column : column + tiles.SIDE] for line in of_tiles[row : row + tiles.SIDE]]
        assert square == [[number] * tiles.SIDE] * tiles.SIDE
        found[row, column] = every[number]
    covered = sum(number >= 0 for line in of_tiles for number in line)
    assert covered == len(found) * tiles.SIDE**2
    assert all(tile.colour == colour for tile in found.values())
    return colour, found
