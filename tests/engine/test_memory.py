"""Too little memory is one error, however PyTorch says it."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import linocut.engine.engine as module
from linocut import Engine, ImageRequest
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


def test_a_closed_engine_holds_none_of_its_networks(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[Any]] = []

    def watched(name: str) -> None:
        load = getattr(module, name)

        def loaded(*arguments: Any, **options: Any) -> Any:
            network = load(*arguments, **options)
            seen.append(weakref.ref(network))
            return network

        monkeypatch.setattr(module, name, loaded)

    for name in ("load_transformer", "load_text_encoder", "load_autoencoder"):
        watched(name)
    engine = Engine.open(tiny_folder, device="cpu")
    engine.draw(ImageRequest(prompt="x", width=64, height=64, num_inference_steps=1))
    assert [network() is None for network in seen] == [False, False, False]
    engine.close()
    gc.collect()
    assert [network() is None for network in seen] == [True, True, True]
