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
def test_a_cpu_has_at_least_the_memory_that_is_built_in_or_that_its_container_may_take() -> None:
    built_in = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = Path("/sys/fs/cgroup/memory.max")
    told = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    room = room_on(torch.device("cpu"))
    assert room is not None
    assert room >= 0.9 * min(built_in, built_in if told == "max" else int(told))


@pytest.mark.parametrize(
    ("limits", "kilobytes"),
    [
        ({}, 1500),
        ({"memory.max": "max\n", "memory.swap.max": "max\n"}, 1500),
        ({"memory.max": "409600\n"}, 900),
        ({"memory.max": "409600\n", "memory.swap.max": "0\n"}, 400),
        ({"memory.max": "9000000000\n", "memory.swap.max": "102400\n"}, 1100),
    ],
)
def test_within_a_container_its_own_limits_count(
    tmp_path: Path, limits: dict[str, str], kilobytes: int
) -> None:
    """As Linux says it: the machine's 1000 kB and 500 of swap, and what a container may take."""
    groups = tmp_path / "sys" / "fs" / "cgroup"
    for folder in (groups, tmp_path / "proc"):
        folder.mkdir(parents=True)
    said = "MemTotal:       1000 kB\nMemFree:         10 kB\nSwapTotal:       500 kB\n"
    (tmp_path / "proc" / "meminfo").write_text(said, encoding="ascii")
    for name, text in limits.items():
        (groups / name).write_text(text, encoding="ascii")
    assert room_on(torch.device("cpu"), tmp_path) == 1024 * kilobytes


def test_a_system_that_tells_nothing_is_asked_in_vain(tmp_path: Path) -> None:
    assert room_on(torch.device("cpu"), tmp_path) is None
