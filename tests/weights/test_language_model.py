"""The whole text encoder: what is here of it, and what to do about the rest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from linocut.errors import CheckpointInvalid
from linocut.weights.files import open_checkpoint
from linocut.weights.language_model import find_language_model, pull_command
from linocut.weights.parts import read_index


def shards(folder: Path, wanted: Callable[[str], bool]) -> set[Path]:
    """The text encoder's shards that hold only tensors of these names."""
    index = read_index(folder / "text_encoder" / "model.safetensors.index.json")
    others = {shard for name, shard in index.items() if not wanted(name)}
    return {folder / "text_encoder" / shard for shard in set(index.values()) - others}


def of_the_eyes(name: str) -> bool:
    return "vision_tower" in name or "multi_modal_projector" in name


def behind_the_taps(name: str) -> bool:
    return ".layers." in name and int(name.split(".layers.")[1].split(".", maxsplit=1)[0]) >= 30


def test_all_but_the_eyes_is_found(dev_like: Path) -> None:
    checkpoint = open_checkpoint(dev_like)
    assert checkpoint.text_encoder is not None
    found = find_language_model(checkpoint)
    assert set(checkpoint.text_encoder.tensors) < set(found.tensors)
    assert not any(of_the_eyes(name) for name in found.tensors)
    assert any(name.endswith("lm_head.weight") for name in found.tensors)


def test_the_eyes_need_not_be_here(dev_like: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(dev_like, blind)
    absent = shards(blind, of_the_eyes)
    assert absent
    for shard in absent:
        shard.unlink()
    assert find_language_model(open_checkpoint(blind)).files


def test_layers_that_were_not_pulled_are_told_with_the_command_that_pulls_them(
    dev_like: Path, tmp_path: Path
) -> None:
    pulled = tmp_path / "pulled"
    shutil.copytree(dev_like, pulled)
    for shard in shards(pulled, behind_the_taps):
        shard.unlink()
    checkpoint = open_checkpoint(pulled)  # which draws
    with pytest.raises(CheckpointInvalid, match="safety_model=text_encoder reads") as caught:
        find_language_model(checkpoint)
    assert pull_command("flux-2-dev", with_safety_model=True) in caught.value.hint


def test_an_encoder_with_few_layers_cannot_answer() -> None:
    mini = open_checkpoint("linocut-mini")
    with pytest.raises(CheckpointInvalid, match="linocut-mini has 7 layers") as caught:
        find_language_model(mini)
    assert "safety_model=terms" in caught.value.hint


def test_the_command_is_the_plain_one_with_an_option() -> None:
    assert pull_command("x", with_safety_model=False) == "linocut pull x"
    assert pull_command("x", with_safety_model=True) == "linocut pull x --with-safety-model"
