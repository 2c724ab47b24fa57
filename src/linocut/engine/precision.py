"""fp32 means fp32 while the engine computes, whatever PyTorch is set to.

By default cuDNN rounds what goes into fp32 convolutions to TF32, ten bits of mantissa, and a
program may have asked for the same in matrix products.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

FULL: Final = "ieee"
_BACKENDS: Final[Any] = torch.backends  # whose operations its types do not know
_OPERATIONS: Final = (
    _BACKENDS.cudnn.conv,
    _BACKENDS.cuda.matmul,
    _BACKENDS.mkldnn.conv,
    _BACKENDS.mkldnn.matmul,
)
_lock: Final = threading.Lock()
_inside: list[tuple[str, ...]] = []  # what was set before, once for each that is inside


@contextmanager
def full_precision() -> Iterator[None]:
    """Sums and products of fp32 in fp32; what was set before is set again at the end.

    PyTorch's settings are the whole process's: where several threads are inside, what the first
    one found comes back with the end of the last.
    """
    with _lock:
        _inside.append(_inside[0] if _inside else tuple(one.fp32_precision for one in _OPERATIONS))
        _set((FULL,) * len(_OPERATIONS))
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                _set(before)


def _set(precisions: tuple[str, ...]) -> None:
    for operation, precision in zip(_OPERATIONS, precisions, strict=True):
        operation.fp32_precision = precision
