"""One error for too little memory, whichever device has too little of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

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
