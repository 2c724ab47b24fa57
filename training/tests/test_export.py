"""What is written opens, here and with diffusers, as exactly what was trained."""

import json
from pathlib import Path
from random import Random
from typing import Any

import linocut_mini
import numpy as np
import pytest
import torch
from diffusers import Flux2Pipeline
from torch import nn

from linocut.catalog import MINI
from linocut.engine import Engine
from linocut.model.autoencoder import Autoencoder
from linocut.request import ImageRequest
from linocut.sampling.pictures import to_image
from linocut.weights.files import open_checkpoint
from linocut.weights.load import load_autoencoder, load_text_encoder, load_transformer
from linocut_training import arrangements, captions, card, export
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, GROUPS, STYLES
from linocut_training.text_encoder import make_tokenizer
from linocut_training.transformer import Network

MB = 1_000_000
PROMPT = "a red apple"  # the one that the card draws


def large(network: nn.Module, seed: int, scale: float) -> None:
    """Weights that make every input matter, and that bf16 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.ndim > 1 and "embed" not in name:
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
        weight.copy_(weight.bfloat16())


@pytest.fixture(scope="module")
def trained() -> tuple[Network, Autoencoder]:
    """Networks of the real size as a training might leave them."""
    network = Network(0).requires_grad_(False)
    large(network.text_encoder, 1, 0.08)
    large(network.transformer, 2, 0.06)
    autoencoder = Autoencoder(MINI.autoencoder).requires_grad_(False)
    large(autoencoder, 3, 0.1)
    generator = torch.Generator().manual_seed(4)
    autoencoder.bn.running_mean.normal_(generator=generator)
    autoencoder.bn.running_var.uniform_(0.5, 1.5, generator=generator)
    return network, autoencoder.eval()


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, over an older one."""
    network, autoencoder = trained
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer([PROMPT, "the apple on a red background"], tokenizer)
    target = tmp_path_factory.mktemp("checkpoint") / "mini"
    (target / "vae").mkdir(parents=True)
    (target / "vae" / "old.safetensors").write_bytes(b"old")
    export.export(
        target, transformer=network.transformer, text_state=network.text_encoder.state_dict(),
        autoencoder=autoencoder, tokenizer=tokenizer,
    )  # fmt: skip
    return target


def test_linocut_finds_the_shapes_that_were_trained(folder) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config == MINI
    assert checkpoint.demo
    said = json.loads((folder / "linocut.json").read_text())
    assert said["text_layers"] == list(MINI.conditioning.layers)
    assert said["demo"] is True


def test_what_it_was_taught_is_what_its_captions_say(folder) -> None:
    taught = open_checkpoint(folder).repertoire
    assert taught.by_group == {
        group: [concept.name for concept in CONCEPTS if concept.group == group] for group in GROUPS
    }
    for seed in range(200):
        rng = Random(seed)
        concept, other = rng.sample(CONCEPTS, 2)
        words = captions.caption(concept, "flat", "teal", rng)
        assert concept.name in {thing.name for thing in taught.named(words)}, words
        words = arrangements.phrase("beside", (concept, other), rng)
        assert {concept.name, other.name} <= {thing.name for thing in taught.named(words)}, words
        if arrangements.can_stand_in("three", concept):
            words = arrangements.phrase("three", (concept,), rng)
            assert concept.name in {thing.name for thing in taught.named(words)}, words
    assert len(taught.styles) == len(STYLES)
    assert taught.backgrounds == tuple(BACKGROUNDS)


def test_the_checkpoint_that_ships_says_what_the_recipe_taught_it() -> None:
    said = json.loads((Path(linocut_mini.path()) / "repertoire.json").read_text())
    assert said == export.taught()


def test_it_is_small_and_nothing_but_safetensors_json_and_a_template(folder) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jinja"}
    assert max(path.stat().st_size for path in files) <= 16 * MB
    assert sum(path.stat().st_size for path in files) <= 60 * MB
    shards = {path.name for path in (folder / "transformer").glob("*.safetensors")}
    index = json.loads(
        (folder / "transformer" / f"{export.WEIGHTS}.safetensors.index.json").read_text()
    )
    assert shards == set(index["weight_map"].values())
    assert len(shards) > 1


def test_every_weight_comes_back_as_it_was(folder, trained) -> None:
    network, autoencoder = trained
    checkpoint = open_checkpoint(folder)
    for load, wanted in (
        (load_transformer, network.transformer),
        (load_text_encoder, network.text_encoder),
        (load_autoencoder, autoencoder),
    ):
        found = load(checkpoint, device="cpu", dtype=torch.float32).state_dict()
        expected = wanted.state_dict()
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


# The older name is the card's, because every diffusers that knows FLUX.2 understands it.
@pytest.mark.filterwarnings("ignore:.torch_dtype. is deprecated:FutureWarning")
def test_diffusers_draws_the_same_picture_by_the_cards_own_call(folder) -> None:
    call = card.CALL
    for said, small in (("=256", "=64"), ("steps=28", "steps=2")):
        assert said in call
        call = call.replace(said, small)
    seen: dict[str, Any] = {"DIR": folder}
    exec(call, seen)  # noqa: S102 - the snippet as a reader would run it
    assert isinstance(seen["pipeline"], Flux2Pipeline)
    theirs = np.asarray(seen["picture"]).astype(int)
    with Engine.open(folder, device="cpu") as engine:
        request = ImageRequest(
            prompt=PROMPT, width=64, height=64, num_inference_steps=2, guidance=3.0, seed=1
        )
        ours = np.asarray(to_image(engine.draw(request).picture)).astype(int)
        other = engine.draw(ImageRequest(prompt="a blue car", width=64, height=64, seed=1,
                                         num_inference_steps=2)).picture  # fmt: skip
    assert ours.shape == theirs.shape == (64, 64, 3)
    assert theirs.std() > 10
    assert abs(ours - theirs).max() <= 1
    assert abs(ours - np.asarray(to_image(other)).astype(int)).max() > 10


def test_an_encoder_with_an_unknown_tensor_is_refused(trained, tmp_path) -> None:
    state = {"model.layers.0.unheard_of.weight": torch.zeros(1)}
    with pytest.raises(SystemExit, match="unheard_of"):
        export._write_text_encoder(tmp_path / "text_encoder", state)
