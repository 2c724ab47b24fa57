"""The text encoder of a checkpoint: its files, and which of its hidden states are read. Torch-free.

The states come from whoever states them: the caller (`--text-layers`), else `linocut.json`, else
dev's own where the shapes are dev's. They are never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from linocut.catalog import TextConditioning, TextEncoderConfig
from linocut.errors import CheckpointInvalid
from linocut.fields import read_fields
from linocut.weights import configs
from linocut.weights.names import text_names
from linocut.weights.parts import Part, about, folder_part


@dataclass(frozen=True, slots=True)
class Encoder:
    """A text encoder on disk; `fields` are what transformers builds it from."""

    shape: TextEncoderConfig
    conditioning: TextConditioning
    fields: Mapping[str, object]
    part: Part


def find_encoder(folder: Path, declared: configs.Declared, context: int) -> Encoder | None:
    """The text encoder in a folder; None where single files come without one."""
    file = folder / "config.json"
    if not file.is_file():
        return None
    shape, fields = configs.text_encoder_config(read_fields(file))
    with about(file):
        layers = taps(shape, context, declared.text_layers)
    with about(folder):
        part = folder_part(folder, "model", partial(text_names, depth=max(layers)))
    default = TextConditioning()
    conditioning = TextConditioning(
        layers=layers,
        max_tokens=declared.max_text_tokens or default.max_tokens,
        pad_token_id=fields.whole("pad_token_id", default.pad_token_id, least=0),
    )
    return Encoder(shape, conditioning, fields.values, part)


def taps(
    encoder: TextEncoderConfig, context: int, stated: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The hidden states that make the context: `stated`, else dev's if it has dev's shape.

    CheckpointInvalid where neither holds (they are never guessed), or where the stated ones do not
    fit the encoder.
    """
    width, count = encoder.hidden_size, encoder.num_layers
    if context % width:
        raise CheckpointInvalid(
            f"the transformer reads {context} channels of text, which is no multiple of the "
            f"encoder's {width}; they do not belong together"
        )
    if stated is None:
        dev = TextConditioning().layers
        if count > max(dev) and len(dev) * width == context:
            return dev
        raise CheckpointInvalid(
            "which hidden states of the text encoder are read is not stated (no text_layers in "
            f"linocut.json), and {count} layers of {width} channels for a context of {context} "
            "are not FLUX.2 [dev]'s",
            hint=f"say it with --text-layers: {context // width} numbers from 0 to {count - 1}",
        )
    if len(stated) * width != context:
        raise CheckpointInvalid(
            f"text layers {_list(stated)}: {len(stated)} x {width} channels are "
            f"{len(stated) * width}, but the transformer reads {context}",
            hint=f"say others with --text-layers: {context // width} numbers",
        )
    if not 0 <= min(stated) <= max(stated) < count:
        raise CheckpointInvalid(
            f"text layers {_list(stated)}: the encoder has {count} layers, so that 0 to "
            f"{count - 1} can be read; the state behind the last layer is normed, and FLUX.2 "
            "reads raw ones",
            hint="say others with --text-layers",
        )
    return stated


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(str(number) for number in numbers)
