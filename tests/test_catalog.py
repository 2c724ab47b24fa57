"""What is known without a file: published shapes, and the checkpoints behind the names."""

from __future__ import annotations

import re

import pytest

from linocut.catalog import CHECKPOINTS, DEV, MINI, AutoencoderConfig, Known, TransformerConfig
from linocut.errors import CheckpointInvalid


def test_the_defaults_are_dev() -> None:
    config = TransformerConfig()
    assert config == DEV.transformer
    assert (config.head_dim, config.mlp_size) == (128, 18432)
    assert DEV.autoencoder.pixels_per_token == 16
    assert DEV.autoencoder.token_channels == config.in_channels
    assert DEV.text_encoder.hidden_size * len(DEV.conditioning.layers) == config.context_channels
    assert DEV.conditioning.layers == (10, 20, 30)
    assert (DEV.conditioning.max_tokens, DEV.conditioning.pad_token_id) == (512, 11)


def test_the_parts_of_the_mini_belong_together() -> None:
    assert MINI.autoencoder.token_channels == MINI.transformer.in_channels
    assert (
        MINI.text_encoder.hidden_size * len(MINI.conditioning.layers)
        == MINI.transformer.context_channels
    )
    assert MINI.autoencoder.pixels_per_token == 32
    # transformers norms the last state, so that one layer more than is tapped is needed.
    assert max(MINI.conditioning.layers) == MINI.text_encoder.num_layers - 1


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hidden_size": 6145}, "does not divide into 48 heads"),
        ({"axes": (32, 32, 32, 30)}, "add up to the head's width, 128"),
        ({"axes": (43, 43, 21, 21)}, "four even numbers"),
        ({"axes": (64, 64)}, "four even numbers"),
    ],
)
def test_a_transformer_that_cannot_be_is_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(CheckpointInvalid, match=re.escape(said)):
        TransformerConfig(**values)  # type: ignore[arg-type]


def test_a_decoder_is_as_wide_as_the_encoder_unless_it_says_otherwise() -> None:
    assert AutoencoderConfig(channels=(8, 16)).decoder_channels == (8, 16)
    with pytest.raises(CheckpointInvalid, match="as many levels"):
        AutoencoderConfig(channels=(8, 16), decoder_channels=(8,))


def test_a_token_larger_than_any_picture_is_refused() -> None:
    assert AutoencoderConfig(channels=(32,) * 11).pixels_per_token == 2048
    with pytest.raises(CheckpointInvalid, match="12 levels has tokens of 4,096 pixels"):
        AutoencoderConfig(channels=(32,) * 12)


@pytest.mark.parametrize("known", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_a_known_checkpoint_says_where_it_comes_from(known: Known) -> None:
    assert bool(known.repo) != bool(known.package)
    assert bool(known.repo) == bool(known.revision)
    assert bool(known.package) == bool(known.install)
    assert known.licence
    assert known.summary


def test_what_cannot_be_used_yet_says_why() -> None:
    usable = [name for name, known in CHECKPOINTS.items() if not known.unsupported]
    assert usable == ["linocut-mini", "flux-2-dev"]
    for known in (CHECKPOINTS[name] for name in usable):
        assert known.text_layers
