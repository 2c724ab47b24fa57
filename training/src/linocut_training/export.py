"""Writes the trained networks as a checkpoint: a diffusers folder with `linocut.json` beside it.

bf16 safetensors in shards of at most 15 MB; the latent statistics stay fp32, because rounding them
would shift every colour.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Mistral3Config, Mistral3ForConditionalGeneration, PixtralVisionConfig

from linocut import repertoire
from linocut.catalog import MINI
from linocut.model.autoencoder import Autoencoder
from linocut.model.transformer import Transformer
from linocut.weights import names
from linocut.weights.convert import to_diffusers
from linocut_training import autoencoder as pictures
from linocut_training.arrangements import is_countable, plural
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, STYLES
from linocut_training.network import Network
from linocut_training.text_encoder import mistral_config

SHARD_BYTES = 15_000_000
WEIGHTS = "diffusion_pytorch_model"


def export_network(folder: Path, network: Network, work: Path) -> None:
    """A checkpoint of it in `folder`, with the autoencoder and the tokenizer of a work folder."""
    export(
        folder,
        transformer=network.transformer,
        text_state=network.text_encoder.state_dict(),
        autoencoder=pictures.trained(work),
        tokenizer=work / "tokenizer",
    )


def export(
    folder: Path, *, transformer: Transformer, text_state: Mapping[str, Tensor],
    autoencoder: Autoencoder, tokenizer: Path,
) -> None:  # fmt: skip
    """A checkpoint in `folder`, which is emptied first. text_state: a TextEncoder's state."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _write_json(folder / "model_index.json", {
        "_class_name": "Flux2Pipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "Mistral3ForConditionalGeneration"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    })  # fmt: skip
    _write_json(folder / "linocut.json", {
        "text_layers": list(MINI.conditioning.layers),
        "max_text_tokens": MINI.conditioning.max_tokens,
        "native_max_tokens": MINI.native_max_tokens,
        "native_short_side": MINI.native_short_side,
        "demo": True,
    })  # fmt: skip
    _write_json(folder / repertoire.FILE, taught())
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    _write_json(folder / "transformer" / "config.json", transformer_config())
    _write_shards(
        folder / "transformer", to_diffusers(names.TRANSFORMER, _bf16(transformer.state_dict()))
    )
    _write_json(folder / "vae" / "config.json", autoencoder_config())
    levels = len(MINI.autoencoder.channels)
    _write_shards(
        folder / "vae", to_diffusers(names.autoencoder(levels), _bf16(autoencoder.state_dict()))
    )
    _write_text_encoder(folder / "text_encoder", text_state)
    shutil.copytree(tokenizer, folder / "tokenizer")


def taught() -> dict[str, Any]:
    """What people may ask for, and how they may call it, as `linocut.repertoire` reads it."""
    things: dict[str, dict[str, list[str]]] = {}
    for concept in CONCEPTS:
        plurals = (plural(name) for name in concept.names if is_countable(name))
        also = dict.fromkeys((*concept.synonyms, *plurals))
        also.pop(concept.name, None)
        things.setdefault(concept.group, {})[concept.name] = list(also)
    return {
        "things": things,
        "styles": [style.word for style in STYLES.values()],
        "backgrounds": list(BACKGROUNDS),
    }


SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "_diffusers_version": "0.42.1",
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
    "base_shift": 0.5,
    "max_shift": 1.15,
    "base_image_seq_len": 256,
    "max_image_seq_len": 4096,
}


def transformer_config() -> dict[str, Any]:
    """What diffusers calls the transformer's shape."""
    shape = MINI.transformer
    return {
        "_class_name": "Flux2Transformer2DModel",
        "_diffusers_version": "0.42.1",
        "patch_size": 1,
        "in_channels": shape.in_channels,
        "out_channels": None,
        "num_layers": shape.num_double_blocks,
        "num_single_layers": shape.num_single_blocks,
        "attention_head_dim": shape.head_dim,
        "num_attention_heads": shape.num_heads,
        "joint_attention_dim": shape.context_channels,
        "timestep_guidance_channels": shape.time_channels,
        "mlp_ratio": shape.mlp_ratio,
        "axes_dims_rope": list(shape.axes),
        "rope_theta": shape.rope_theta,
        "eps": shape.eps,
        "guidance_embeds": shape.guidance_embedding,
    }


def autoencoder_config() -> dict[str, Any]:
    """What diffusers calls the autoencoder's shape."""
    shape = MINI.autoencoder
    levels = len(shape.channels)
    return {
        "_class_name": "AutoencoderKLFlux2",
        "_diffusers_version": "0.42.1",
        "in_channels": 3,
        "out_channels": 3,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(shape.channels),
        "layers_per_block": shape.layers_per_block,
        "act_fn": "silu",
        "latent_channels": shape.latent_channels,
        "norm_num_groups": shape.norm_groups,
        "sample_size": 256,
        "force_upcast": True,
        "use_quant_conv": shape.quant_conv,
        "use_post_quant_conv": shape.post_quant_conv,
        "mid_block_add_attention": shape.mid_attention,
        "batch_norm_eps": shape.batch_norm_eps,
        "batch_norm_momentum": 0.1,
        "patch_size": [2, 2],
    }


def mistral3_config() -> Mistral3Config:
    """The whole published class: our decoder, and a vision tower as small as it can be."""
    vision = PixtralVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=28, patch_size=14, head_dim=8,
    )  # fmt: skip
    return Mistral3Config(
        text_config=mistral_config(), vision_config=vision, image_token_index=10,
        spatial_merge_size=2, vision_feature_layer=-1, tie_word_embeddings=True,
    )  # fmt: skip


def _write_text_encoder(folder: Path, text_state: Mapping[str, Tensor]) -> None:
    torch.manual_seed(0)  # the layer above the last tapped one and the vision tower stay random
    whole = Mistral3ForConditionalGeneration(mistral3_config())
    prefix = "model.language_model."
    ours = {prefix + name.removeprefix("model."): value for name, value in text_state.items()}
    state = whole.state_dict()
    unknown = ours.keys() - state.keys()
    if unknown:
        raise SystemExit(f"transformers has no tensor named {min(unknown)}: export needs mending")
    whole.load_state_dict(state | ours)
    whole.to(torch.bfloat16).save_pretrained(folder, max_shard_size=SHARD_BYTES)


def _bf16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.to(torch.bfloat16)
        if value.is_floating_point() and not name.startswith("bn.")
        else value
        for name, value in state.items()
    }


def _write_shards(folder: Path, state: Mapping[str, Tensor]) -> None:
    shards: list[dict[str, Tensor]] = [{}]
    for name, value in sorted(state.items()):
        if sum(tensor.nbytes for tensor in shards[-1].values()) + value.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = value.contiguous()
    if len(shards) == 1:
        save_file(shards[0], folder / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"{WEIGHTS}-{number:05}-of-{len(shards):05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(shard, file)
    total = sum(tensor.nbytes for tensor in state.values())
    _write_json(
        folder / f"{WEIGHTS}.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": where},
    )


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
