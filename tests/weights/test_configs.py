"""Configurations, as `config.json`, `linocut.json` or the tensors' shapes state them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linocut.catalog import (
    DEV,
    KLEIN_4B,
    SMALL_DECODER,
    AutoencoderConfig,
    TransformerConfig,
)
from linocut.model.autoencoder import Autoencoder
from linocut.model.transformer import Transformer
from linocut.weights import configs
from linocut.weights.configs import inferred_autoencoder, inferred_transformer
from linocut.weights.files import open_checkpoint
from linocut.weights.headers import Stored

Refusal = Callable[..., str]
Edit = Callable[..., None]
TAPS = (1, 2, 3)


def stored(network: torch.nn.Module) -> dict[str, Stored]:
    return {
        name: Stored(Path("x"), name, "BF16", tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("config", [DEV.transformer, KLEIN_4B], ids=["dev", "klein"])
def test_published_transformers_are_known_by_their_shapes(config: TransformerConfig) -> None:
    with torch.device("meta"):
        assert inferred_transformer(stored(Transformer(config))) == config


@pytest.mark.parametrize("config", [DEV.autoencoder, SMALL_DECODER], ids=["full", "small decoder"])
def test_published_autoencoders_are_known_by_their_shapes(config: AutoencoderConfig) -> None:
    with torch.device("meta"):
        assert inferred_autoencoder(stored(Autoencoder(config))) == config


@given(
    heads=st.integers(1, 6),
    quarter=st.integers(1, 8),
    blocks=st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any),
    mlp=st.integers(1, 700),
    guided=st.booleans(),
)
def test_any_shape_is_read_back_as_it_was_built(
    heads: int, quarter: int, blocks: tuple[int, int], mlp: int, *, guided: bool
) -> None:
    width = 8 * quarter * heads
    config = TransformerConfig(
        in_channels=16,
        context_channels=24,
        hidden_size=width,
        num_heads=heads,
        num_double_blocks=blocks[0],
        num_single_blocks=blocks[1],
        mlp_ratio=mlp / width,
        axes=(2 * quarter,) * 4,
        guidance_embedding=guided,
    )
    with torch.device("meta"):
        network = Transformer(config)
    if config.mlp_size:
        found = inferred_transformer(stored(network))
        assert found.mlp_size == config.mlp_size
        assert replace(found, mlp_ratio=config.mlp_ratio) == config


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("transformer/config.json", {"_class_name": "FluxTransformer2DModel"}),
        ("transformer/config.json", {"patch_size": 2}),
        ("transformer/config.json", {"out_channels": 8}),
        ("transformer/config.json", {"num_layers": 10**9}),
        ("transformer/config.json", {"num_layers": "2"}),
        ("transformer/config.json", {"num_layers": None}),
        ("transformer/config.json", {"num_attention_heads": 0}),
        ("transformer/config.json", {"attention_head_dim": 2**40}),
        ("transformer/config.json", {"axes_dims_rope": [8, 8, 8]}),
        ("transformer/config.json", {"axes_dims_rope": [7, 9, 8, 8]}),
        ("transformer/config.json", {"axes_dims_rope": "8888"}),
        ("transformer/config.json", {"rope_theta": 0}),
        ("transformer/config.json", {"rope_theta": float("nan")}),
        ("transformer/config.json", {"eps": float("inf")}),
        ("transformer/config.json", {"mlp_ratio": 1e20}),
        ("transformer/config.json", {"mlp_ratio": 1e-20}),
        (
            "transformer/config.json",
            {"num_attention_heads": 2**23, "attention_head_dim": 8, "axes_dims_rope": [2] * 4},
        ),
        ("transformer/config.json", {"guidance_embeds": "yes"}),
        ("transformer/config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ("vae/config.json", {"_class_name": "AutoencoderKL"}),
        ("vae/config.json", {"act_fn": "relu"}),
        ("vae/config.json", {"patch_size": [1, 1]}),
        ("vae/config.json", {"norm_num_groups": 24}),
        ("vae/config.json", {"block_out_channels": [32, 64]}),
        ("vae/config.json", {"block_out_channels": []}),
        ("vae/config.json", {"decoder_block_out_channels": [32, 64]}),
        ("vae/config.json", {"down_block_types": ["AttnDownBlock2D"] * 3}),
        ("text_encoder/config.json", {"model_type": "qwen3"}),
        ("text_encoder/config.json", {"model_type": None}),
        ("text_encoder/config.json", {"text_config": None}),
        ("text_encoder/config.json", {"text_config": {"model_type": "llama"}}),
        ("text_encoder/config.json", {"quantization_config": {}}),
        (
            "text_encoder/config.json",
            {
                "model_type": "mistral",
                "vocab_size": 300,
                "hidden_size": 16,
                "intermediate_size": 37,
                "num_hidden_layers": 4,
                "num_attention_heads": 2**23,
                "head_dim": 2**23,
            },
        ),
    ],
)
def test_a_configuration_that_is_none_is_named_with_its_file(
    refusal: Refusal, copy: Path, edit: Edit, file: str, fields: dict[str, object]
) -> None:
    edit(copy / file, **fields)
    assert str(copy / file) in refusal(copy)


def test_linocut_json_is_heard(copy: Path, edit: Edit) -> None:
    edit(
        copy / "linocut.json",
        max_text_tokens=64, native_max_tokens=100, native_short_side=6, demo=True,
    )  # fmt: skip
    found = open_checkpoint(copy)
    assert found.demo
    assert (found.config.native_max_tokens, found.config.native_short_side) == (100, 6)
    assert (found.config.conditioning.layers, found.config.conditioning.max_tokens) == (TAPS, 64)


def test_the_page_about_checkpoints_names_every_key() -> None:
    page = Path(__file__).parents[2] / "docs" / "checkpoints.md"
    rows = page.read_text(encoding="utf-8").split("## `linocut.json`")[1].splitlines()
    named = [row.split("`")[1] for row in rows if row.startswith("| `")]
    assert named == list(configs.Declared.__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text_layers", []),
        ("text_layers", "1,2,3"),
        ("text_layers", [1, 2, True]),
        ("text_layers", [1, 2, -1]),
        ("text_layers", [1.0, 2, 3]),
        ("max_text_tokens", 0),
        ("max_text_tokens", "64"),
        ("max_text_tokens", False),
        ("native_max_tokens", -4),
        ("native_max_tokens", 2**60),
        ("native_short_side", 0),
        ("native_short_side", 2.5),
        ("demo", 1),
        ("demo", "yes"),
        ("text_layer", [1, 2, 3]),
    ],
)
def test_linocut_json_is_held_to_its_types(
    refusal: Refusal, copy: Path, edit: Edit, key: str, value: object
) -> None:
    edit(copy / "linocut.json", **{key: value})
    message = refusal(copy)
    assert "linocut.json" in message
    assert key in message


def test_klein_says_that_its_encoder_is_not_supported(
    refusal: Refusal, copy: Path, edit: Edit
) -> None:
    edit(copy / "text_encoder/config.json", model_type="qwen3")
    assert "Qwen3 belongs to FLUX.2 klein, which is not supported yet" in refusal(copy)


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantised by bitsandbytes,"),
        ({}, "quantised,"),
    ],
)
def test_quantised_weights_are_refused_with_those_that_are_read(
    refusal: Refusal, copy: Path, edit: Edit, *, part: str, stated: dict[str, object], words: str
) -> None:
    edit(copy / part / "config.json", quantization_config=stated)
    message, hint = refusal(copy).split(" | ")
    assert words in message
    assert "F64, F32, F16, BF16" in hint
    assert "linocut pull flux-2-dev" in hint
