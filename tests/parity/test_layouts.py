"""From both published layouts, the same networks: a diffusers folder, and BFL's single files."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file
from torch import Tensor, nn

from linocut.engine import Engine
from linocut.request import ImageRequest
from linocut.weights.files import Checkpoint, open_checkpoint
from linocut.weights.load import load_autoencoder, load_transformer

EXACT = 1e-5


@pytest.fixture(scope="module")
def shards(small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as diffusers writes it when it must cut it in pieces."""
    folder = tmp_path_factory.mktemp("shards") / "tiny"
    small.their_pipeline().save_pretrained(folder, max_shard_size="200KB")
    assert len(list((folder / "transformer").glob("*.safetensors"))) > 2
    (folder / "linocut.json").write_text('{"text_layers": [1, 2, 3], "max_text_tokens": 24}')
    return folder


@pytest.fixture(params=["diffusers", "shards", "single files"])
def checkpoint(
    request: pytest.FixtureRequest, tiny_folder: Path, shards: Path, single_files: Path
) -> Checkpoint:
    """The tiny checkpoint in each layout."""
    folders = {"diffusers": tiny_folder, "shards": shards, "single files": single_files}
    return open_checkpoint(folders[request.param])


def test_the_transformer_of_every_layout_is_theirs(
    checkpoint: Checkpoint, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    theirs = small.their_transformer(small.transformer, 2)
    loaded = load_transformer(checkpoint, device="cpu", dtype=torch.float32)
    same_weights(loaded, oracle.our_transformer(theirs, small.transformer))
    assert loaded.config == small.transformer


def test_the_autoencoder_of_every_layout_is_theirs(
    checkpoint: Checkpoint, small: SimpleNamespace, oracle: SimpleNamespace
) -> None:
    theirs = small.their_pipeline().vae
    loaded = load_autoencoder(checkpoint, device="cpu", dtype=torch.float32)
    same_weights(loaded, oracle.our_autoencoder(theirs, small.autoencoder))
    assert loaded.config == small.autoencoder
    latent = torch.randn(1, 16, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = oracle.their_picture(theirs, latent).clamp(-1, 1)
    assert small.relative_error(loaded.decode(latent), expected) <= EXACT


def same_weights(found: nn.Module, expected: nn.Module) -> None:
    ours: dict[str, Tensor] = found.state_dict()
    theirs: dict[str, Tensor] = expected.state_dict()
    assert list(ours) == list(theirs)
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_diffusers_own_converter_reads_our_transformer_file(
    single_files: Path, tiny_folder: Path
) -> None:
    """Names and forms of the single files, judged by somebody else's code."""
    theirs = Flux2Transformer2DModel.from_single_file(
        str(single_files / "flux2-dev.safetensors"),
        config=str(tiny_folder),
        subfolder="transformer",
        local_files_only=True,
    )
    same_weights(theirs, Flux2Transformer2DModel.from_pretrained(tiny_folder / "transformer"))


def test_diffusers_own_converter_reads_our_autoencoder_file(
    single_files: Path, tiny_folder: Path
) -> None:
    """Theirs knows the older autoencoders, which have these names but for three."""
    theirs = AutoencoderKLFlux2.from_pretrained(tiny_folder / "vae")
    ours = load_file(single_files / "ae.safetensors")
    older = {
        re.sub(r"^(en|de)coder\.(?=(post_)?quant_conv)", "", name): ours[name] for name in ours
    }
    converted = convert_ldm_vae_checkpoint(older, theirs.config)
    expected = theirs.state_dict()
    statistics = {name for name in expected if name.startswith("bn.")}
    assert set(converted) | statistics == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(ours[name] if name in statistics else converted[name], tensor), name


def test_both_layouts_draw_the_same_bytes(single_files: Path, engine: Engine) -> None:
    request = ImageRequest(prompt="a red apple", width=64, height=80, num_inference_steps=3, seed=5)
    with Engine.open(single_files, device="cpu") as other:
        assert other.draw(request).picture == engine.draw(request).picture
