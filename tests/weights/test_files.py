"""What a folder turns out to be: a checkpoint, described, or a sentence that says why not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from linocut.catalog import (
    CHECKPOINTS,
    NO_TEXT_ENCODER,
    AutoencoderConfig,
    TextEncoderConfig,
)
from linocut.weights import files
from linocut.weights.files import default_home, listing, open_checkpoint

Refusal = Callable[..., str]
Edit = Callable[..., None]
TAPS = (1, 2, 3)
VAE = "vae/diffusion_pytorch_model.safetensors"


# What opens


def test_a_folder_that_diffusers_wrote_is_described(tiny: Path, small: SimpleNamespace) -> None:
    found = open_checkpoint(tiny, text_layers=TAPS)
    assert (found.name, found.layout, found.demo) == ("tiny", "diffusers", False)
    assert found.config.transformer == small.transformer
    assert found.config.autoencoder == AutoencoderConfig(
        channels=(32, 64, 64), layers_per_block=1, latent_channels=4
    )
    assert found.config.text_encoder == TextEncoderConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=37,
        num_heads=4,
        num_kv_heads=2,
        head_dim=4,
        num_layers=4,
    )
    assert found.config.conditioning.layers == TAPS
    assert found.config.conditioning.max_tokens == 512
    assert found.config.conditioning.pad_token_id == 11
    assert found.config.native_max_tokens is None
    assert found.tokenizer == tiny / "tokenizer"
    assert found.transformer.files == (tiny / "transformer/diffusion_pytorch_model.safetensors",)


def test_single_files_are_described_from_their_shapes(single: Path, tiny: Path) -> None:
    found, same = open_checkpoint(single), open_checkpoint(tiny, text_layers=TAPS)
    assert found.layout == "bfl"
    assert found.config == same.config
    assert found.transformer.files == (single / "flux2-dev.safetensors",)
    assert found.autoencoder.files == (single / "ae.safetensors",)


def test_single_files_may_come_without_an_encoder(single: Path) -> None:
    shutil.rmtree(single / "text_encoder")
    found = open_checkpoint(single)
    assert found.text_encoder is None
    assert found.config.text_encoder == NO_TEXT_ENCODER


def test_a_known_checkpoint_without_an_encoder_is_listed_as_not_usable(
    single: Path, tmp_path: Path
) -> None:
    shutil.copytree(single, tmp_path / "flux-2-dev")
    shutil.rmtree(tmp_path / "flux-2-dev/text_encoder")
    rows = {row.known.name: row for row in listing(tmp_path)}
    assert "has no text encoder" in rows["flux-2-dev"].problem


def test_single_files_are_known_by_what_is_in_them(single: Path) -> None:
    (single / "ae.safetensors").rename(single / "full_encoder_small_decoder.safetensors")
    (single / "flux2-dev.safetensors").rename(single / "x.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1)}, single / "lora.safetensors")
    assert open_checkpoint(single).transformer.files == (single / "x.safetensors",)


# Names


def test_what_is_not_here_is_said_with_the_next_command(refusal: Refusal, tmp_path: Path) -> None:
    assert "linocut pull flux-2-dev" in refusal("flux-2-dev", home=tmp_path)
    assert "Qwen3" in refusal("flux-2-klein-4b", home=tmp_path)
    assert "did you mean flux-2-dev?" in refusal("flux2-dev", home=tmp_path)
    assert "known names: linocut-mini, flux-2-dev" in refusal(tmp_path / "nowhere", home=tmp_path)


def test_a_pulled_checkpoint_opens_by_name(
    refusal: Refusal, dev_like: Path, tmp_path: Path
) -> None:
    shutil.copytree(dev_like, tmp_path / "flux-2-dev")
    assert open_checkpoint("flux-2-dev", home=tmp_path).name == "flux-2-dev"
    (tmp_path / "flux-2-dev/vae/config.json").unlink()
    assert "linocut pull flux-2-dev fetches what is missing" in refusal("flux-2-dev", home=tmp_path)


def test_the_demo_opens_through_its_package(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("linocut_mini")
    package.path = lambda: copy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "linocut_mini", package)
    found = open_checkpoint("linocut-mini")
    assert (found.name, found.folder) == ("linocut-mini", copy)
    assert {row.known.name: row.problem for row in listing(tmp_path)}["linocut-mini"] == ""


def test_without_its_package_the_demo_says_how_to_install_it(
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "linocut_mini", None)
    assert "linocut-mini is not installed | pip install" in refusal("linocut-mini")


def test_the_listing_knows_what_is_here_and_what_is_the_matter(
    dev_like: Path, tmp_path: Path
) -> None:
    assert {row.known.name for row in listing(tmp_path)} == set(CHECKPOINTS)
    assert all(row.size == 0 for row in listing(tmp_path) if not row.known.package)
    shutil.copytree(dev_like, tmp_path / "flux-2-dev")
    rows = {row.known.name: row for row in listing(tmp_path)}
    assert rows["flux-2-dev"].folder == tmp_path / "flux-2-dev"
    assert rows["flux-2-dev"].size > 10**6
    assert rows["flux-2-dev"].problem == ""
    assert "Qwen3" in rows["flux-2-klein-9b"].problem


def test_the_home_is_where_the_environment_says() -> None:
    assert default_home({"LINOCUT_HOME": "/big"}) == Path("/big")
    assert default_home({}) == Path.home() / ".cache/linocut"
    assert default_home({"LINOCUT_HOME": ""}) == Path.home() / ".cache/linocut"


# What is no checkpoint


def test_a_file_is_no_folder(refusal: Refusal, tiny: Path) -> None:
    message = refusal(tiny / VAE)
    assert "is a file; a checkpoint is a folder" in message
    assert f"try {tiny / 'vae'}" in message


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".pth"])
def test_a_pickle_is_refused_with_the_reason(refusal: Refusal, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    torch.save({"x": torch.zeros(1)}, file)
    assert "opening a pickle runs whatever code" in refusal(file)
    assert "opening a pickle runs whatever code" in refusal(tmp_path)


def test_an_empty_folder_lists_what_a_checkpoint_has(refusal: Refusal, tmp_path: Path) -> None:
    message = refusal(tmp_path)
    assert "model_index.json" in message
    assert "flux2-dev.safetensors and ae.safetensors" in message


def test_a_part_of_a_checkpoint_points_to_the_whole(refusal: Refusal, tiny: Path) -> None:
    assert f"is one part of a checkpoint | try {tiny}" in refusal(tiny / "vae")


def test_everything_that_is_missing_is_listed_at_once(refusal: Refusal, copy: Path) -> None:
    shutil.rmtree(copy / "tokenizer")
    (copy / "vae/config.json").unlink()
    assert "it lacks vae/config.json, tokenizer/tokenizer.json" in refusal(copy)


@pytest.mark.parametrize(
    ("pipeline", "what"),
    [
        ("FluxPipeline", "FLUX.1"),
        ("FluxImg2ImgPipeline", "FLUX.1"),
        ("Flux2KleinPipeline", "klein"),
        ("StableDiffusionXLPipeline", "Stable Diffusion"),
        ("WanPipeline", "names the pipeline WanPipeline"),
        (None, "names the pipeline (none)"),
        (["diffusers", 3], "names the pipeline"),
    ],
)
def test_other_pipelines_are_called_by_their_name(
    refusal: Refusal, copy: Path, edit: Edit, pipeline: object, what: str
) -> None:
    edit(copy / "model_index.json", _class_name=pipeline)
    assert what in refusal(copy)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("double_blocks.0.img_mod.lin.weight", "a FLUX.1 transformer"),
        ("model.diffusion_model.input_blocks.0.0.weight", "a Stable Diffusion network"),
        ("decoder.up.0.block.0.conv1.weight", "an autoencoder, but not that of FLUX.2"),
        ("x_embedder.weight", "a transformer with diffusers' names"),
    ],
)
def test_single_files_of_others_are_called_by_their_name(
    refusal: Refusal, tmp_path: Path, name: str, what: str
) -> None:
    save_file({name: torch.zeros(1)}, tmp_path / "model.safetensors")
    assert f"model.safetensors is {what}" in refusal(tmp_path)


def test_half_a_pair_of_single_files_names_the_other_half(refusal: Refusal, single: Path) -> None:
    (single / "ae.safetensors").rename(single / "ae")
    assert "has the transformer but lacks ae.safetensors" in refusal(single)
    (single / "ae").rename(single / "ae.safetensors")
    (single / "flux2-dev.safetensors").unlink()
    assert "has the autoencoder but lacks flux2-dev.safetensors" in refusal(single)


def test_two_files_with_the_same_network_are_one_too_many(refusal: Refusal, single: Path) -> None:
    shutil.copy(single / "ae.safetensors", single / "ae-2.safetensors")
    assert "two files with the autoencoder: ae-2.safetensors, ae.safetensors" in refusal(single)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\udcff"], ids=lambda text: text[:8])
@pytest.mark.parametrize("file", ["model_index.json", "vae/config.json", "linocut.json"])
def test_broken_json_is_named(refusal: Refusal, copy: Path, file: str, text: str) -> None:
    (copy / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert file in refusal(copy)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "x" * 5000, "a\0b", ""])
def test_a_path_that_cannot_be_is_no_traceback(refusal: Refusal, path: str) -> None:
    refusal(path)


def test_finding_and_fetching_need_no_torch() -> None:
    code = (
        "import sys, linocut.weights.fetch, linocut.weights.files;"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules)"
    )
    source = Path(files.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(source)})


def test_a_description_is_short_enough_to_be_printed(tiny: Path) -> None:
    assert len(repr(open_checkpoint(tiny, text_layers=TAPS))) < 3000
