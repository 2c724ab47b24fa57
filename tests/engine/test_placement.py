"""Devices, dtypes and modes: what is refused, and what a refusal names."""

from __future__ import annotations

import pytest
import torch

from linocut.engine.placement import EXACT, MODES, place
from linocut.errors import DoesNotFit
from linocut.request import ImageRequest


@pytest.fixture(params=[False, True], ids=["no GPU", "two GPUs"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether PyTorch says that it sees two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * request.param)
    return bool(request.param)


def test_by_default_a_gpu_is_taken_if_there_is_one(gpu: bool) -> None:
    placement = place()
    assert placement.device.type == ("cuda" if gpu else "cpu")
    assert placement.dtype == (torch.bfloat16 if gpu else torch.float32)
    assert placement.default_mode == EXACT == ImageRequest(prompt="").mode


def test_a_device_is_taken_by_name(gpu: bool) -> None:
    assert place("cpu").device == torch.device("cpu")
    if gpu:
        assert place("cuda:1").device == torch.device("cuda", 1)


@pytest.mark.parametrize("number", [2, 7, 256])
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DoesNotFit, match=f"cuda:{number}.*sees cuda:0, cuda:1") as caught:
        place(f"cuda:{number}")
    assert "use one of these" in caught.value.hint


def test_exact_is_fp32_on_a_cpu_and_bf16_is_its_fast_mode() -> None:
    placement = place("cpu")
    assert placement.modes == {"exact": torch.float32, "bf16": torch.bfloat16}
    assert placement.dtype_of("exact") == torch.float32
    assert placement.dtype_of("bf16") == torch.bfloat16


def test_weights_in_bf16_cannot_draw_exactly_on_a_cpu() -> None:
    placement = place("cpu", "bfloat16")
    assert placement.default_mode == "bf16"
    with pytest.raises(DoesNotFit, match="'exact' cannot run on cpu") as caught:
        placement.dtype_of("exact")
    assert caught.value.hint == "what can run here: bf16"


def test_every_placement_has_a_mode_in_the_dtype_of_its_weights() -> None:
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    for (_, dtype), modes in MODES.items():
        assert next(iter(modes.values())) == names[dtype]


@pytest.mark.parametrize(
    ("device", "dtype", "said", "hint"),
    [
        ("abacus", None, "'abacus' is not known", "auto, cpu, cuda"),
        ("", None, "'' is not known", "auto, cpu, cuda"),
        ("cuda:x", None, "'cuda:x' is not known", "auto, cpu, cuda"),
        ("cuda", None, "no CUDA device", "--device cpu"),
        ("cuda:3", "float32", "no CUDA device", "--device cpu"),
        ("meta", None, "'meta' is not supported", "cpu or cuda"),
        ("cpu", "float16", "'float16' is not known", "float32, bfloat16"),
    ],
)
def test_what_is_not_there_is_refused_in_words(
    device: str, dtype: str | None, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DoesNotFit, match=said) as caught:
        place(device, dtype)
    assert hint in caught.value.hint
