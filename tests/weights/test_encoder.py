"""Which hidden states are read is stated or known, never guessed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from linocut.catalog import (
    TextEncoderConfig,
)
from linocut.errors import CheckpointInvalid
from linocut.weights.encoder import taps
from linocut.weights.files import open_checkpoint

Refusal = Callable[..., str]
Edit = Callable[..., None]


@pytest.mark.parametrize(
    ("layers", "width", "context", "taken"),
    [
        (40, 5120, 15360, (10, 20, 30)),
        (31, 5120, 15360, (10, 20, 30)),
        (30, 5120, 15360, None),
        (40, 5120, 10240, None),
    ],
)
def test_the_rule_for_taps_is_exact(
    layers: int, width: int, context: int, taken: tuple[int, ...] | None
) -> None:
    encoder = TextEncoderConfig(num_layers=layers, hidden_size=width)
    if taken:
        assert taps(encoder, context, None) == taken
    else:
        with pytest.raises(CheckpointInvalid) as caught:
            taps(encoder, context, None)
        assert "--text-layers" in caught.value.hint


def test_dev_reads_10_20_30_without_being_told(dev_like: Path) -> None:
    assert open_checkpoint(dev_like).config.conditioning.layers == (10, 20, 30)


def test_the_callers_taps_win_over_linocut_json(copy: Path) -> None:
    assert open_checkpoint(copy, text_layers=(0, 1, 2)).config.conditioning.layers == (0, 1, 2)


def test_taps_that_are_not_stated_are_never_guessed(refusal: Refusal, tiny: Path) -> None:
    message = refusal(tiny)
    assert "is not stated" in message
    assert message.endswith("| say it with --text-layers: 3 numbers from 0 to 3")


@pytest.mark.parametrize(
    ("text_layers", "message"),
    [
        ((1, 2), "2 x 16 channels are 32, but the transformer reads 48"),
        ((), "0 x 16 channels are 0"),
        ((1, 2, 4), "the state behind the last layer is normed"),
        ((1, 2, 400), "the encoder has 4 layers"),
        ((-1, 2, 3), "0 to 3 can be read"),
    ],
)
def test_taps_that_do_not_fit_say_why(
    refusal: Refusal, tiny: Path, text_layers: tuple[int, ...], message: str
) -> None:
    found = refusal(tiny, text_layers=text_layers)
    assert message in found
    assert "--text-layers" in found


def test_parts_of_two_checkpoints_are_told_apart(refusal: Refusal, copy: Path, edit: Edit) -> None:
    edit(copy / "transformer/config.json", joint_attention_dim=50)
    assert "no multiple of the encoder's 16; they do not belong together" in refusal(copy)
    edit(copy / "transformer/config.json", joint_attention_dim=48, in_channels=32)
    assert "makes tokens of 16 channels, the transformer reads 32" in refusal(copy)


def test_shards_of_layers_that_are_never_read_may_be_absent(
    refusal: Refusal, dev_like: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dev"
    shutil.copytree(dev_like, folder)
    needed = open_checkpoint(folder).text_encoder
    assert needed is not None
    for shard in (folder / "text_encoder").glob("*.safetensors"):
        if shard not in needed.files:
            shard.unlink()
    assert open_checkpoint(folder).text_encoder == needed
    needed.files[0].unlink()
    assert f"lacks {needed.files[0].name}, which model.safetensors.index.json names" in refusal(
        folder
    )
