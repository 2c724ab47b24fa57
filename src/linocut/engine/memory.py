"""Too little memory: weights that could never fit, refused; and one error on a CPU and on a GPU."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from linocut.engine.placement import Placement
from linocut.errors import DoesNotFit
from linocut.weights.files import Checkpoint

STORED_AS: Final = {torch.float32: "F32", torch.bfloat16: "BF16"}
_MEMORY: Final = re.compile(r"^(MemTotal|SwapTotal): +(\d+) kB$", re.MULTILINE)
_CONTAINER: Final = {"MemTotal": "memory.max", "SwapTotal": "memory.swap.max"}
_ON_A_CPU: Final = "allocate memory"  # how PyTorch says so there, in a bare RuntimeError


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raises MemoryError for what PyTorch raises when a CPU or a GPU has too little memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if _ON_A_CPU in str(error):
            raise MemoryError(str(error)) from error
        raise


def room_on(device: torch.device, system: Path = Path("/")) -> int | None:
    """The bytes that a device has, whoever holds them now; None where the system does not say.

    A CPU's swap is a part of it. Within a container it is what the container may take, where its
    limits are told as cgroup v2 tells them. system: the root of the file system that says so.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        told = _MEMORY.findall((system / "proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        return None
    built_in = {name: 1024 * int(kilobytes) for name, kilobytes in told}
    if len(built_in) < len(_CONTAINER):
        return None
    groups = system / "sys/fs/cgroup"
    return int(sum(min(built_in[name], _limit(groups / at)) for name, at in _CONTAINER.items()))


def _limit(file: Path) -> float:
    """The bytes that a control group may take; infinite without a limit, or without a group."""
    try:
        told = file.read_text(encoding="ascii").strip()
    except OSError:
        return math.inf
    return int(told) if told.isdecimal() else math.inf


def check_room(checkpoint: Checkpoint, placement: Placement, room: int | None) -> None:
    """Nothing, or DoesNotFit: whether `room` holds the weights that need memory of their own.

    Refused is what could never run. What a picture takes besides is seen when it is drawn.
    """
    on_cpu = placement.device.type == "cpu"
    wanted = weight_bytes(checkpoint, placement.dtype, are_mapped=on_cpu)
    if room is None or wanted <= room:
        return
    hint = "take a device with more memory, or a smaller checkpoint"
    if weight_bytes(checkpoint, torch.bfloat16) <= room:
        hint = "take them in bfloat16: --dtype bfloat16, or LINOCUT_DTYPE for a server"
    what = "this machine has {} of memory and swap" if on_cpu else "the GPU has {} of memory"
    raise DoesNotFit(
        f"the weights of {checkpoint.name} take {wanted / 1e9:,.1f} GB in "
        f"{str(placement.dtype).removeprefix('torch.')}; {what.format(f'{room / 1e9:,.1f} GB')}",
        hint=hint,
    )


def weight_bytes(checkpoint: Checkpoint, dtype: torch.dtype, *, are_mapped: bool = False) -> int:
    """What the weights take in a dtype; the autoencoder's is always fp32.

    are_mapped: those that are stored as they are needed stay in their file, and count for nothing.
    """
    networks = [part for part in (checkpoint.transformer, checkpoint.text_encoder) if part]
    parts = [(part, dtype) for part in networks] + [(checkpoint.autoencoder, torch.float32)]
    return sum(
        kept.itemsize * math.prod(stored.shape)
        for part, kept in parts
        for stored in part.tensors.values()
        if not (are_mapped and stored.dtype == STORED_AS[kept])
    )
