"""Too little memory is one error, however PyTorch says it."""

from __future__ import annotations

import pytest
import torch

from linocut.engine.memory import memory_errors


def test_what_a_cpu_cannot_allocate_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="allocate"), memory_errors():
        torch.empty(2**60, dtype=torch.uint8)


def test_what_a_gpu_cannot_allocate_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="CUDA out of memory"), memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_troubles_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        torch.zeros(3).view(2, 2)
