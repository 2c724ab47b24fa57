"""Networks with their weights: built on the meta device, loaded exactly or not at all.

The names a network has and the names its files hold are compared first; nothing is read before
they agree. A tensor that is stored as it is needed stays a view of the mapped file, which costs no
memory of its own; the others are made one at a time, straight into their place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import MistralConfig

from linocut.errors import CheckpointInvalid
from linocut.model import attention
from linocut.model.autoencoder import Autoencoder
from linocut.model.text_encoder import TextEncoder
from linocut.model.transformer import Transformer
from linocut.weights.convert import joined, rows_of_ours
from linocut.weights.files import Checkpoint, text_encoder_of
from linocut.weights.headers import FLOATS, QUANTISED_HINT, Stored
from linocut.weights.names import TRANSFORMER, Names, Pair, autoencoder, text_prefix
from linocut.weights.parts import Part

COUNTS: Final = ("I64",)
# How many batches the statistics were gathered over: never read, and some files leave it out.
OPTIONAL: Final = frozenset({"bn.num_batches_tracked"})


def load_transformer(
    checkpoint: Checkpoint,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    attend: attention.Attention = attention.fused,
) -> Transformer:
    """The velocity network of a checkpoint, ready to run; CheckpointInvalid says what is amiss."""
    with torch.device("meta"):
        model = Transformer(checkpoint.config.transformer, attend)
    pairs = _pairs(model, TRANSFORMER, checkpoint)
    _fill(model, pairs, checkpoint.transformer, torch.device(device), dtype)
    return model


def load_autoencoder(
    checkpoint: Checkpoint, *, device: torch.device | str, dtype: torch.dtype
) -> Autoencoder:
    """The picture autoencoder of a checkpoint, ready to run."""
    config = checkpoint.config.autoencoder
    with torch.device("meta"):
        model = Autoencoder(config)
    pairs = _pairs(model, autoencoder(len(config.channels)), checkpoint)
    _fill(model, pairs, checkpoint.autoencoder, torch.device(device), dtype)
    return model


def load_text_encoder(
    checkpoint: Checkpoint, *, device: torch.device | str, dtype: torch.dtype
) -> TextEncoder:
    """The layers of a checkpoint's text encoder that are read, ready to run."""
    part = text_encoder_of(checkpoint)
    layers = checkpoint.config.conditioning.layers
    file = checkpoint.folder / "text_encoder" / "config.json"
    try:
        config = MistralConfig(**checkpoint.text_config)
        with torch.device("meta"):
            model = TextEncoder(config, layers)
        # The rotary frequencies are computed, not stored, and stay fp32 in every dtype.
        model.model.rotary_emb = type(model.model.rotary_emb)(model.model.config)
    except (AssertionError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise CheckpointInvalid(f"{file}: transformers cannot build this: {error}") from error
    model.model.rotary_emb.to(device)
    prefix = text_prefix(part.tensors)
    pairs = {
        name: Pair(name, (prefix + name.removeprefix("model."),)) for name in model.state_dict()
    }
    _fill(model, pairs, part, torch.device(device), dtype)
    return model


def _pairs(model: nn.Module, names: Names, checkpoint: Checkpoint) -> dict[str, Pair]:
    """Where each of the network's tensors is found, in the checkpoint's own layout."""
    if checkpoint.layout == "bfl":
        return {name: Pair(name, (name,)) for name in model.state_dict()}
    return {name: names.of_ours(name) for name in model.state_dict()}


def _fill(
    model: nn.Module,
    pairs: Mapping[str, Pair],
    part: Part,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Gives a network on the meta device its weights; afterwards nothing is left there."""
    empty = model.state_dict()
    wanted = {
        theirs: (pair.their_shape(tuple(empty[name].shape)), empty[name].is_floating_point())
        for name, pair in pairs.items()
        for theirs in pair.theirs
    }
    _compare(wanted, part)
    opened: dict[Path, Any] = {}
    state: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        if name in OPTIONAL and name not in part.tensors:
            state[name] = torch.zeros_like(empty[name], device=device)
            continue
        rows = rows_of_ours(pair.form, [_read(part.tensors[one], opened) for one in pair.theirs])
        kept = dtype if empty[name].is_floating_point() else empty[name].dtype
        state[name] = joined(rows, device=device, dtype=kept)
    model.load_state_dict(state, strict=True, assign=True)
    model.eval().requires_grad_(False)
    tensors = (*model.named_parameters(), *model.named_buffers())
    if left := [name for name, tensor in tensors if tensor.is_meta]:
        raise RuntimeError(f"still on the meta device: {left}")


def _compare(wanted: Mapping[str, tuple[tuple[int, ...], bool]], part: Part) -> None:
    """Nothing, or CheckpointInvalid with the first missing and the first unknown name."""
    missing = [name for name in wanted if name not in part.tensors and name not in OPTIONAL]
    unknown = [name for name in part.tensors if name not in wanted]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} missing, the first is {missing[0]}")
    if unknown:
        complaints.append(f"{len(unknown)} unknown, the first is {unknown[0]}")
    if complaints:
        dtypes = {stored.dtype for stored in part.tensors.values()}
        raise CheckpointInvalid(
            f"{part.where} does not hold the {len(wanted)} tensors that its configuration asks "
            f"for: {'; '.join(complaints)}",
            hint=QUANTISED_HINT if dtypes - {*FLOATS, *COUNTS} else "",
        )
    for name, stored in part.tensors.items():
        shape, is_float = wanted[name]
        if stored.shape != shape:
            raise CheckpointInvalid(
                f"{part.where}: {name} has the shape {stored.shape}; "
                f"the configuration asks for {shape}"
            )
        if stored.dtype not in (FLOATS if is_float else COUNTS):
            raise CheckpointInvalid(
                f"{part.where}: {name} is stored as {stored.dtype}; "
                f"linocut reads {', '.join(FLOATS)}, and no quantised files yet",
                hint=QUANTISED_HINT,
            )


def _read(stored: Stored, opened: dict[Path, Any]) -> Tensor:
    """A view of the mapped file; nothing is read until it is used."""
    try:
        if stored.file not in opened:
            opened[stored.file] = safe_open(stored.file, framework="pt", device="cpu")
        tensor: Tensor = opened[stored.file].get_tensor(stored.name)
    except (OSError, SafetensorError) as error:
        raise CheckpointInvalid(f"{stored.file} cannot be read: {error}") from error
    return tensor
