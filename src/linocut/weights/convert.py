"""Values between the two published layouts, a tensor at a time. The names are in `names`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from linocut.errors import CheckpointInvalid
from linocut.weights.names import Form, Names


def rows_of_ours(form: Form, theirs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Views of theirs that, one below the other, are our tensor. Nothing is copied."""
    if form is Form.SWAPPED:
        upper, lower = theirs[0].chunk(2)
        return lower, upper
    if form is Form.SQUEEZED:
        return (theirs[0][:, :, None, None],)
    return tuple(theirs)


def to_theirs(form: Form, ours: Tensor, count: int = 1) -> tuple[Tensor, ...]:
    """The `count` tensors of theirs that hold ours; copies only where halves are swapped."""
    if form is Form.JOINED:
        return ours.chunk(count)
    if form is Form.SWAPPED:
        return (ours.roll(ours.shape[0] // 2, 0),)
    if form is Form.SQUEEZED:
        return (ours[:, :, 0, 0],)
    return (ours,)


def joined(
    rows: Sequence[Tensor], *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """`rows` as one tensor; a single one on the right device in the right dtype is not copied.

    Several are written straight into their place, so that no second copy of the result exists.
    """
    first = rows[0]
    if len(rows) == 1:
        return first.to(device=device or first.device, dtype=dtype or first.dtype)
    shape = (sum(part.shape[0] for part in rows), *first.shape[1:])
    result = first.new_empty(shape, device=device or first.device, dtype=dtype or first.dtype)
    start = 0
    for part in rows:
        result[start : start + part.shape[0]].copy_(part)
        start += part.shape[0]
    return result


def to_diffusers(names: Names, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of ours under diffusers' names and in its form."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        pair = names.of_ours(name)
        result.update(zip(pair.theirs, to_theirs(pair.form, tensor, len(pair.theirs)), strict=True))
    return result


def from_diffusers(names: Names, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state of diffusers' under our names in our form; CheckpointInvalid if it is not whole."""
    result: dict[str, Tensor] = {}
    for name in state:
        pair = names.of_theirs(name)
        absent = [theirs for theirs in pair.theirs if theirs not in state]
        if absent:
            raise CheckpointInvalid(f"{name} is there without {', '.join(absent)}")
        if pair.ours not in result:
            theirs = [state[theirs] for theirs in pair.theirs]
            result[pair.ours] = joined(rows_of_ours(pair.form, theirs))
    return result
