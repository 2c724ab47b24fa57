"""Configurations as checkpoints state them: from `config.json`, or from the tensors' shapes.

Torch-free. What a `config.json` says beyond the shape of the network, and would change the
function that is computed, is refused rather than ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from linocut.catalog import AutoencoderConfig, TextEncoderConfig, TransformerConfig
from linocut.errors import CheckpointInvalid
from linocut.fields import MAX_WHOLE, Fields
from linocut.weights.headers import QUANTISED_HINT, Stored

MAX_BLOCKS: Final = 1000
PUBLISHED_GROUPS: Final = 32  # a single file does not say how many groups its norms have

Tensors = Mapping[str, Stored]


def transformer_config(fields: Fields) -> TransformerConfig:
    """The shape of a diffusers `Flux2Transformer2DModel`."""
    fields.only("_class_name", "Flux2Transformer2DModel")
    fields.only("patch_size", 1)
    _check_unquantised(fields)
    in_channels = fields.whole("in_channels")
    fields.only("out_channels", in_channels)
    heads = fields.whole("num_attention_heads")
    config = TransformerConfig(
        in_channels=in_channels,
        context_channels=fields.whole("joint_attention_dim"),
        hidden_size=heads * fields.whole("attention_head_dim"),
        num_heads=heads,
        num_double_blocks=fields.whole("num_layers", least=0, most=MAX_BLOCKS),
        num_single_blocks=fields.whole("num_single_layers", least=0, most=MAX_BLOCKS),
        mlp_ratio=fields.number("mlp_ratio", 3.0),
        axes=fields.wholes("axes_dims_rope"),
        rope_theta=fields.number("rope_theta", 2000.0),
        time_channels=fields.whole("timestep_guidance_channels", 256, least=2),
        guidance_embedding=fields.flag("guidance_embeds", default=True),
        eps=fields.number("eps", 1e-6),
    )
    _check_width(fields, "num_attention_heads and attention_head_dim", config.hidden_size)
    _check_width(fields, "mlp_ratio", config.mlp_size)
    return config


def autoencoder_config(fields: Fields) -> AutoencoderConfig:
    """The shape of a diffusers `AutoencoderKLFlux2`."""
    fields.only("_class_name", "AutoencoderKLFlux2")
    fields.only("act_fn", "silu", "swish")
    fields.only("in_channels", 3)
    fields.only("out_channels", 3)
    fields.only("patch_size", [2, 2])
    channels = fields.wholes("block_out_channels")
    fields.only("down_block_types", ["DownEncoderBlock2D"] * len(channels))
    fields.only("up_block_types", ["UpDecoderBlock2D"] * len(channels))
    config = AutoencoderConfig(
        channels=channels,
        decoder_channels=fields.wholes("decoder_block_out_channels", channels),
        layers_per_block=fields.whole("layers_per_block", 1, most=MAX_BLOCKS),
        latent_channels=fields.whole("latent_channels"),
        norm_groups=fields.whole("norm_num_groups", 32),
        quant_conv=fields.flag("use_quant_conv", default=True),
        post_quant_conv=fields.flag("use_post_quant_conv", default=True),
        mid_attention=fields.flag("mid_block_add_attention", default=True),
        batch_norm_eps=fields.number("batch_norm_eps", 1e-4),
    )
    widths = (*config.channels, *config.decoder_channels)
    if any(width % config.norm_groups for width in widths):
        raise CheckpointInvalid(
            f"{fields.file}: norm_num_groups {config.norm_groups} "
            f"does not divide the widths {widths}"
        )
    return config


def text_encoder_config(fields: Fields) -> tuple[TextEncoderConfig, Fields]:
    """The shape of a Mistral, and the fields that transformers builds it from."""
    _check_unquantised(fields)
    kind = " ".join(fields.words("model_type"))
    if kind not in ("mistral3", "mistral"):
        raise CheckpointInvalid(
            f"{fields.file}: a text encoder of type {kind or '(not stated)'}; "
            "linocut reads mistral3 and mistral",
            hint="Qwen3 belongs to FLUX.2 klein, which is not supported yet"
            if kind == "qwen3"
            else "",
        )
    text = fields.inner("text_config") if kind == "mistral3" else fields
    text.only("model_type", "mistral")
    heads = text.whole("num_attention_heads")
    width = text.whole("hidden_size")
    config = TextEncoderConfig(
        vocab_size=text.whole("vocab_size"),
        hidden_size=width,
        intermediate_size=text.whole("intermediate_size"),
        num_heads=heads,
        num_kv_heads=text.whole("num_key_value_heads", 8),
        head_dim=text.whole("head_dim", max(width // heads, 1)),
        num_layers=text.whole("num_hidden_layers", most=MAX_BLOCKS),
    )
    _check_width(fields, "num_attention_heads and head_dim", heads * config.head_dim)
    if heads % config.num_kv_heads:
        raise CheckpointInvalid(
            f"{fields.file}: {heads} attention heads do not share {config.num_kv_heads} key heads"
        )
    return config, text


def _check_unquantised(fields: Fields) -> None:
    """Nothing, or CheckpointInvalid for weights that another tool has made smaller."""
    if fields.values.get("quantization_config") is None:
        return
    method = " ".join(fields.inner("quantization_config").words("quant_method"))
    raise CheckpointInvalid(
        f"{fields.file}: the weights are quantised{method and f' by {method}'}, "
        "which is not supported yet",
        hint=QUANTISED_HINT,
    )


def _check_width(fields: Fields, stated_by: str, width: int) -> None:
    """Nothing, or CheckpointInvalid for a layer that no tensor could hold."""
    if not 1 <= width <= MAX_WHOLE:
        raise CheckpointInvalid(
            f"{fields.file}: {width:,} channels, by {stated_by}; 1 to {MAX_WHOLE:,} are read",
            hint="download or copy it again",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a checkpoint's `linocut.json` says; None where it does not."""

    text_layers: tuple[int, ...] | None = None
    max_text_tokens: int | None = None
    native_max_tokens: int | None = None
    native_short_side: int | None = None
    demo: bool = False


def declared(fields: Fields) -> Declared:
    """The checked contents of a `linocut.json`; an unknown key is an error, it may be a slip."""
    fields.known(*Declared.__dataclass_fields__)
    return Declared(
        text_layers=fields.wholes("text_layers", (), least=0) or None,
        max_text_tokens=fields.whole("max_text_tokens", 0) or None,
        native_max_tokens=fields.whole("native_max_tokens", 0) or None,
        native_short_side=fields.whole("native_short_side", 0) or None,
        demo=fields.flag("demo", default=False),
    )


def inferred_transformer(tensors: Tensors) -> TransformerConfig:
    """The configuration of a single-file transformer, read off its tensors' shapes.

    Shapes do not tell the rotary axes nor their base: four equal axes and 2000 are what every
    published FLUX.2 has.
    """
    width, in_channels = _matrix(tensors, "img_in.weight")
    doubles = _count(tensors, r"double_blocks\.(\d+)\.")
    singles = _count(tensors, r"single_blocks\.(\d+)\.")
    first = "double_blocks.0.img_attn.norm" if doubles else "single_blocks.0.norm"
    (head,) = _shape(tensors, f"{first}.query_norm.scale", 1)
    if head % 8 or width % head:
        raise CheckpointInvalid(
            f"heads of {head} channels in a width of {width} are none of a published FLUX.2"
        )
    if doubles:
        _, mlp = _matrix(tensors, "double_blocks.0.img_mlp.2.weight")
    else:
        mlp = _matrix(tensors, "single_blocks.0.linear2.weight")[1] - width
    return TransformerConfig(
        in_channels=in_channels,
        context_channels=_matrix(tensors, "txt_in.weight")[1],
        hidden_size=width,
        num_heads=width // head,
        num_double_blocks=doubles,
        num_single_blocks=singles,
        mlp_ratio=_ratio(mlp, width),
        axes=(head // 4,) * 4,
        time_channels=_matrix(tensors, "time_in.in_layer.weight")[1],
        guidance_embedding="guidance_in.in_layer.weight" in tensors,
    )


def inferred_autoencoder(tensors: Tensors) -> AutoencoderConfig:
    """The configuration of a single-file autoencoder, read off its tensors' shapes.

    The published small decoder shows in the widths of `decoder.up`.
    """
    levels = _count(tensors, r"encoder\.down\.(\d+)\.")
    if not levels:
        raise CheckpointInvalid("no encoder.down.0 among the autoencoder's tensors")
    widths = {
        half: tuple(
            _shape(tensors, f"{half}.{level}.block.0.conv1.weight", 4)[0] for level in range(levels)
        )
        for half in ("encoder.down", "decoder.up")
    }
    if any(width % PUBLISHED_GROUPS for half in widths.values() for width in half):
        raise CheckpointInvalid(
            f"an autoencoder with the widths {widths['encoder.down']} and {widths['decoder.up']} "
            f"is none of the published ones, whose norms have {PUBLISHED_GROUPS} groups",
            hint="use the diffusers folder layout, whose config.json states the groups",
        )
    return AutoencoderConfig(
        channels=widths["encoder.down"],
        decoder_channels=widths["decoder.up"],
        layers_per_block=_count(tensors, r"encoder\.down\.0\.block\.(\d+)\."),
        latent_channels=_shape(tensors, "decoder.conv_in.weight", 4)[1],
        norm_groups=PUBLISHED_GROUPS,
        quant_conv="encoder.quant_conv.weight" in tensors,
        post_quant_conv="decoder.post_quant_conv.weight" in tensors,
        mid_attention="encoder.mid.attn_1.q.weight" in tensors,
    )


def _count(names: Iterable[str], pattern: str) -> int:
    found = (re.match(pattern, name) for name in names)
    count = 1 + max((int(match[1][:9]) for match in found if match), default=-1)
    if count > MAX_BLOCKS:
        raise CheckpointInvalid(f"{count} blocks; at most {MAX_BLOCKS} are read")
    return count


def _shape(tensors: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    if name not in tensors:
        raise CheckpointInvalid(f"{name} is missing")
    shape = tensors[name].shape
    if len(shape) != dimensions or 0 in shape:
        raise CheckpointInvalid(f"{name} has the shape {shape}; {dimensions} dimensions are needed")
    return shape


def _matrix(tensors: Tensors, name: str) -> tuple[int, int]:
    rows, columns = _shape(tensors, name, 2)
    return rows, columns


def _ratio(mlp: int, width: int) -> float:
    """The ratio that gives exactly `mlp` when it is multiplied by `width` and cut to a whole."""
    ratio = mlp / width
    return ratio if int(width * ratio) == mlp else math.nextafter(ratio, math.inf)
