"""Too little memory is one error, however PyTorch says it."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

import linocut.engine.engine as module
from linocut import Engine, ImageRequest
from linocut.engine.memory import check_room, memory_errors, room_on
from linocut.engine.placement import Placement
from linocut.errors import DoesNotFit
from linocut.weights.files import open_checkpoint


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


def test_weights_that_could_never_be_held_are_refused_before_one_is_loaded(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "room_on", lambda _: 1000)
    for name in ("load_transformer", "load_text_encoder", "load_autoencoder"):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(
        DoesNotFit, match=r"tiny take .* in bfloat16; this machine has .* swap"
    ) as told:
        Engine.open(tiny_folder, device="cpu", dtype="bfloat16")
    assert told.value.hint == "take a device with more memory, or a smaller checkpoint"


def test_weights_that_stay_in_their_file_need_no_memory(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "room_on", lambda _: 100)
    Engine.open(tiny_folder, device="cpu", dtype="float32").close()


def test_where_the_system_does_not_say_nothing_is_refused(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "room_on", lambda _: None)
    Engine.open(tiny_folder, device="cpu", dtype="bfloat16").close()


def test_a_gpu_holds_all_weights_and_half_of_them_in_bfloat16(tiny_folder: Path) -> None:
    tiny = open_checkpoint(tiny_folder)
    stored = sum(
        tensor.size
        for part in (tiny.transformer, tiny.text_encoder, tiny.autoencoder)
        if part
        for tensor in part.tensors.values()
    )
    full = Placement(device=torch.device("cuda"), dtype=torch.float32, modes={})
    check_room(tiny, full, stored)
    for room, hint in ((stored - 100, "--dtype bfloat16"), (stored // 3, "a smaller checkpoint")):
        with pytest.raises(DoesNotFit, match=r"in float32; the GPU has .* GB of memory$") as told:
            check_room(tiny, full, room)
        assert hint in told.value.hint


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="only Linux tells it, in /proc/meminfo; elsewhere nothing is refused",
)
def test_a_cpu_has_at_least_the_memory_that_is_built_in() -> None:
    built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    room = room_on(torch.device("cpu"))
    assert room is not None
    assert room >= 0.9 * built_in
