"""What published files call our tensors: tables of names, both ways. Torch-free.

Our modules carry the names of Black Forest Labs' single files ("ours" below). The diffusers folders
("theirs") name almost every tensor differently and store a few of them in another form; `Form` says
which. `linocut.weights.convert` moves values between the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

from linocut.errors import CheckpointInvalid


class Form(Enum):
    """How their tensors become ours."""

    SAME = "the same data"
    JOINED = "theirs, one below the other, are the rows of ours"
    SWAPPED = "the halves of the rows change places"
    SQUEEZED = "a 1 x 1 convolution, stored as a matrix"


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our tensors, and the one or several of theirs that hold it."""

    ours: str
    theirs: tuple[str, ...]
    form: Form = Form.SAME

    def their_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of each of theirs, from the shape of ours."""
        if self.form is Form.JOINED:
            return (shape[0] // len(self.theirs), *shape[1:])
        return shape[:2] if self.form is Form.SQUEEZED else shape


@dataclass(frozen=True, slots=True)
class Names:
    """Both vocabularies of one network: pairs of patterns, of which the first that matches counts.

    A pattern is a name with `{words}` in it, each of which stands for what `WORDS` says.
    """

    network: str
    patterns: tuple[Pair, ...]

    def of_ours(self, name: str) -> Pair:
        """The pair of one of our names; CheckpointInvalid if there is no such tensor."""
        for pattern in self.patterns:
            if found := _expression(pattern.ours).fullmatch(name):
                return _fill(pattern, found.groupdict())
        raise CheckpointInvalid(f"{name} is no tensor of the FLUX.2 {self.network}")

    def of_theirs(self, name: str) -> Pair:
        """The pair that one of their names belongs to; CheckpointInvalid if there is none."""
        for pattern in self.patterns:
            for theirs in pattern.theirs:
                if found := _expression(theirs).fullmatch(name):
                    return _fill(pattern, found.groupdict())
        raise CheckpointInvalid(f"{name} is no tensor of the FLUX.2 {self.network} of diffusers")


WORDS: Final = {
    "block": r"\d+",
    "level": r"\d+",
    "half": "encoder|decoder",
    "layer": "norm1|conv1|norm2|conv2",
    "kind": "weight|bias",
    "statistic": "running_mean|running_var|num_batches_tracked",
}

_DOUBLE, _THEIR_DOUBLE = "double_blocks.{block}", "transformer_blocks.{block}"
_SINGLE, _THEIR_SINGLE = "single_blocks.{block}", "single_transformer_blocks.{block}.attn"
_EMBEDDERS = "time_guidance_embed"


def _attention(stream: str, joined: tuple[str, ...], norm: str, out: str) -> tuple[Pair, ...]:
    ours, theirs = f"{_DOUBLE}.{stream}_attn", f"{_THEIR_DOUBLE}.attn"
    rows = tuple(f"{theirs}.{name}.weight" for name in joined)
    return (
        Pair(f"{ours}.qkv.weight", rows, Form.JOINED),
        Pair(f"{ours}.norm.query_norm.scale", (f"{theirs}.{norm}_q.weight",)),
        Pair(f"{ours}.norm.key_norm.scale", (f"{theirs}.{norm}_k.weight",)),
        Pair(f"{ours}.proj.weight", (f"{theirs}.{out}.weight",)),
    )


TRANSFORMER: Final = Names(
    "transformer",
    (
        Pair("img_in.weight", ("x_embedder.weight",)),
        Pair("txt_in.weight", ("context_embedder.weight",)),
        Pair("time_in.in_layer.weight", (f"{_EMBEDDERS}.timestep_embedder.linear_1.weight",)),
        Pair("time_in.out_layer.weight", (f"{_EMBEDDERS}.timestep_embedder.linear_2.weight",)),
        Pair("guidance_in.in_layer.weight", (f"{_EMBEDDERS}.guidance_embedder.linear_1.weight",)),
        Pair("guidance_in.out_layer.weight", (f"{_EMBEDDERS}.guidance_embedder.linear_2.weight",)),
        *(
            Pair(f"{modulation}.lin.weight", (f"{modulation}.linear.weight",))
            for modulation in (
                "double_stream_modulation_img",
                "double_stream_modulation_txt",
                "single_stream_modulation",
            )
        ),
        *_attention("img", ("to_q", "to_k", "to_v"), "norm", "to_out.0"),
        *_attention("txt", ("add_q_proj", "add_k_proj", "add_v_proj"), "norm_added", "to_add_out"),
        Pair(f"{_DOUBLE}.img_mlp.0.weight", (f"{_THEIR_DOUBLE}.ff.linear_in.weight",)),
        Pair(f"{_DOUBLE}.img_mlp.2.weight", (f"{_THEIR_DOUBLE}.ff.linear_out.weight",)),
        Pair(f"{_DOUBLE}.txt_mlp.0.weight", (f"{_THEIR_DOUBLE}.ff_context.linear_in.weight",)),
        Pair(f"{_DOUBLE}.txt_mlp.2.weight", (f"{_THEIR_DOUBLE}.ff_context.linear_out.weight",)),
        Pair(f"{_SINGLE}.linear1.weight", (f"{_THEIR_SINGLE}.to_qkv_mlp_proj.weight",)),
        Pair(f"{_SINGLE}.linear2.weight", (f"{_THEIR_SINGLE}.to_out.weight",)),
        Pair(f"{_SINGLE}.norm.query_norm.scale", (f"{_THEIR_SINGLE}.norm_q.weight",)),
        Pair(f"{_SINGLE}.norm.key_norm.scale", (f"{_THEIR_SINGLE}.norm_k.weight",)),
        # ours: shift, then scale; theirs: scale, then shift
        Pair("final_layer.adaLN_modulation.1.weight", ("norm_out.linear.weight",), Form.SWAPPED),
        Pair("final_layer.linear.weight", ("proj_out.weight",)),
    ),
)


def _residual(ours: str, theirs: str) -> tuple[Pair, ...]:
    return (
        Pair(f"{ours}.{{layer}}.{{kind}}", (f"{theirs}.{{layer}}.{{kind}}",)),
        Pair(f"{ours}.nin_shortcut.{{kind}}", (f"{theirs}.conv_shortcut.{{kind}}",)),
    )


_MIDDLE, _THEIR_CELLS = "{half}.mid", "{half}.mid_block.attentions.0"
_AUTOENCODER: Final = (
    Pair("encoder.quant_conv.{kind}", ("quant_conv.{kind}",)),
    Pair("decoder.post_quant_conv.{kind}", ("post_quant_conv.{kind}",)),
    Pair("bn.{statistic}", ("bn.{statistic}",)),
    Pair("{half}.conv_in.{kind}", ("{half}.conv_in.{kind}",)),
    Pair("{half}.conv_out.{kind}", ("{half}.conv_out.{kind}",)),
    Pair("{half}.norm_out.{kind}", ("{half}.conv_norm_out.{kind}",)),
    *_residual(f"{_MIDDLE}.block_1", "{half}.mid_block.resnets.0"),
    *_residual(f"{_MIDDLE}.block_2", "{half}.mid_block.resnets.1"),
    Pair(f"{_MIDDLE}.attn_1.norm.{{kind}}", (f"{_THEIR_CELLS}.group_norm.{{kind}}",)),
    *(
        pair
        for ours, theirs in (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0"))
        for pair in (
            Pair(
                f"{_MIDDLE}.attn_1.{ours}.weight",
                (f"{_THEIR_CELLS}.{theirs}.weight",),
                Form.SQUEEZED,
            ),
            Pair(f"{_MIDDLE}.attn_1.{ours}.bias", (f"{_THEIR_CELLS}.{theirs}.bias",)),
        )
    ),
    *_residual("encoder.down.{level}.block.{block}", "encoder.down_blocks.{level}.resnets.{block}"),
    Pair(
        "encoder.down.{level}.downsample.conv.{kind}",
        ("encoder.down_blocks.{level}.downsamplers.0.conv.{kind}",),
    ),
)


def autoencoder(levels: int) -> Names:
    """The names of an autoencoder of that many levels; diffusers counts the decoder's backwards."""
    decoder: list[Pair] = []
    for level in range(levels):
        ours, theirs = f"decoder.up.{level}", f"decoder.up_blocks.{levels - 1 - level}"
        decoder += _residual(f"{ours}.block.{{block}}", f"{theirs}.resnets.{{block}}")
        decoder.append(
            Pair(f"{ours}.upsample.conv.{{kind}}", (f"{theirs}.upsamplers.0.conv.{{kind}}",))
        )
    return Names("autoencoder", (*_AUTOENCODER, *decoder))


TEXT_PREFIXES: Final = (
    "language_model.model.",  # Mistral3 as published, and as transformers still writes it
    "model.language_model.",  # the same as transformers >= 4.52 names its modules
    "model.",  # a Mistral without eyes
)
# Parts of the published encoder that conditioning has no use for; the eyes are never read at all.
_HEAD: Final = r"(language_model\.)?lm_head\.weight"
_EYES: Final = (r"(model\.)?vision_tower\..+", r"(model\.)?multi_modal_projector\..+")


def text_prefix(names: Iterable[str]) -> str:
    """What stands before "embed_tokens.weight" among `names`; CheckpointInvalid if nothing does."""
    present = set(names)
    for prefix in TEXT_PREFIXES:
        if f"{prefix}embed_tokens.weight" in present:
            return prefix
    raise CheckpointInvalid(
        "the text encoder's files name no embed_tokens.weight; looked for it after "
        + ", ".join(TEXT_PREFIXES)
    )


def text_names(names: Iterable[str], *, depth: int) -> frozenset[str]:
    """Those of a published encoder's names that its first `depth` layers need, and any unknown one.

    Left out is what is known and lies behind the last tap: later layers, the final norm, the word
    head, the eyes.
    """
    every = frozenset(names)
    prefix = text_prefix(every)
    return frozenset(name for name in every if not _is_unused(name, prefix, depth))


def language_names(names: Iterable[str]) -> frozenset[str]:
    """Those of a published encoder's names that the whole language model needs: all but the eyes.

    That is every layer, the final norm and the word head, and any unknown one.
    """
    return frozenset(name for name in names if not _is_any(name, _EYES))


def _is_unused(name: str, prefix: str, depth: int) -> bool:
    if name == f"{prefix}norm.weight":
        return True
    if layer := re.match(re.escape(prefix) + r"layers\.(\d+)\.", name):
        return int(layer[1]) >= depth
    return _is_any(name, (_HEAD, *_EYES))


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    escaped = re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}")
    return re.compile(re.sub(r"{(\w+)}", lambda word: f"(?P<{word[1]}>{WORDS[word[1]]})", escaped))


def _fill(pattern: Pair, words: dict[str, str]) -> Pair:
    theirs = tuple(name.format(**words) for name in pattern.theirs)
    return Pair(pattern.ours.format(**words), theirs, pattern.form)
