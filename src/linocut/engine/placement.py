"""What sits where, and which speed modes that allows: data, decided once at the edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from linocut.errors import DoesNotFit

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT: Final = "exact"

# (kind of device, dtype of the weights) -> the modes that can run there, the default first.
# A mode is the dtype that transformer and text encoder compute in.
MODES: Final[dict[tuple[str, str], dict[str, torch.dtype]]] = {
    ("cpu", "float32"): {EXACT: torch.float32, "bf16": torch.bfloat16},
    ("cpu", "bfloat16"): {"bf16": torch.bfloat16},
    ("cuda", "bfloat16"): {EXACT: torch.bfloat16},
    ("cuda", "float32"): {"fp32": torch.float32},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the networks live and what they compute in. The autoencoder is always fp32."""

    device: torch.device
    dtype: torch.dtype
    modes: dict[str, torch.dtype]

    @property
    def default_mode(self) -> str:
        """The mode of a request that names none."""
        return next(iter(self.modes))

    def dtype_of(self, mode: str) -> torch.dtype:
        """What a mode computes in; DoesNotFit names the modes that can run here."""
        if mode not in self.modes:
            raise DoesNotFit(
                f"mode {mode!r} cannot run on {self.device.type} with these weights",
                hint=f"what can run here: {', '.join(self.modes)}",
            )
        return self.modes[mode]


def place(device: str = "auto", dtype: str | None = None) -> Placement:
    """The placement for a device ("auto", "cpu", "cuda", "cuda:1") and a dtype or its default.

    The default dtype is float32 on a CPU and bfloat16 on a GPU. Raises DoesNotFit.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DoesNotFit(
            f"device {device!r} is not known", hint="use auto, cpu, cuda or cuda:N"
        ) from error
    if chosen.type == "cuda":
        _check_cuda(device)
    name = dtype or ("bfloat16" if chosen.type == "cuda" else "float32")
    if name not in DTYPES:
        raise DoesNotFit(f"dtype {name!r} is not known", hint=f"use one of {', '.join(DTYPES)}")
    if (chosen.type, name) not in MODES:
        raise DoesNotFit(f"device {device!r} is not supported", hint="use cpu or cuda")
    return Placement(device=chosen, dtype=DTYPES[name], modes=MODES[chosen.type, name])


def _check_cuda(device: str) -> None:
    """Nothing, or DoesNotFit for a GPU that is not there."""
    if not torch.cuda.is_available():
        raise DoesNotFit(
            f"device {device!r} is asked for, but PyTorch sees no CUDA device",
            hint="use --device cpu, or install a CUDA build of PyTorch",
        )
    seen = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    # By its name, since PyTorch takes cuda:256 for cuda:0.
    if device not in ("cuda", *seen):
        raise DoesNotFit(
            f"device {device!r} is asked for, but PyTorch sees {', '.join(seen)}",
            hint="use one of these; CUDA_VISIBLE_DEVICES may hide others",
        )
