"""One file, or shards and their index; and what lies there instead."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from linocut.weights.files import open_checkpoint

Refusal = Callable[..., str]
VAE = "vae/diffusion_pytorch_model.safetensors"


def test_a_folder_in_shards_lists_those_that_are_read(dev_like: Path) -> None:
    found = open_checkpoint(dev_like)
    assert found.text_encoder is not None
    assert len(found.transformer.files) > 3
    every = set((dev_like / "text_encoder").glob("*.safetensors"))
    assert set(found.text_encoder.files) < every


def test_the_prefix_of_other_tools_is_seen_through(single: Path) -> None:
    plain = open_checkpoint(single)
    file = single / "flux2-dev.safetensors"
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in load_file(file).items()}
    save_file(state, file)
    found = open_checkpoint(single)
    assert found.config == plain.config
    assert set(found.transformer.tensors) == set(plain.transformer.tensors)
    assert found.transformer.tensors["img_in.weight"].name == "model.diffusion_model.img_in.weight"


def test_an_index_is_held_to_its_word(refusal: Refusal, dev_like: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    shutil.copytree(dev_like, folder)
    index = folder / "vae/diffusion_pytorch_model.safetensors.index.json"
    right = json.loads(index.read_text())
    shard = right["weight_map"]["bn.running_mean"]

    def says(**weight_map: object) -> str:
        index.write_text(json.dumps({"weight_map": right["weight_map"] | weight_map}))
        return refusal(folder)

    assert f"{shard} does not hold extra" in says(extra=shard)
    assert "lacks absent.safetensors, which" in says(extra="absent.safetensors")
    assert "is no file name" in says(extra="../../etc/passwd")
    assert "is no file name" in says(extra=3)
    assert "opening a pickle" in says(extra="weights.bin")
    index.write_text('{"weight_map": {}}')
    assert "names no tensors" in refusal(folder)
    index.write_text('{"metadata": {}}')
    assert "weight_map" in refusal(folder)


def test_two_versions_of_the_same_weights_are_not_chosen_from(refusal: Refusal, copy: Path) -> None:
    (copy / "vae/diffusion_pytorch_model.safetensors.index.json").write_text("{}")
    assert "holds both" in refusal(copy)


def test_a_part_with_pickles_only_says_so(refusal: Refusal, copy: Path) -> None:
    (copy / VAE).rename(copy / "vae/diffusion_pytorch_model.bin")
    message = refusal(copy)
    assert "has no diffusion_pytorch_model.safetensors" in message
    assert "safetensors only" in message


def test_a_folder_where_a_file_should_be_is_no_traceback(refusal: Refusal, copy: Path) -> None:
    (copy / VAE).unlink()
    (copy / VAE).mkdir()
    assert "has no diffusion_pytorch_model.safetensors" in refusal(copy)
