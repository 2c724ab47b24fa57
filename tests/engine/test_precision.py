"""fp32 is fp32 while the engine computes, and PyTorch is set as before for everybody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import pytest
import torch

from linocut.engine import Engine
from linocut.engine.precision import full_precision
from linocut.request import ImageRequest

OPERATIONS: Final[tuple[Any, ...]] = (
    torch.backends.cudnn.conv,
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.conv,
    torch.backends.mkldnn.matmul,
)
LOOSE: Final = ["tf32", "tf32", "bf16", "bf16"]
FULL: Final = ["ieee"] * len(OPERATIONS)


def settings() -> list[str]:
    return [operation.fp32_precision for operation in OPERATIONS]


def set_to(precisions: list[str]) -> None:
    for operation, precision in zip(OPERATIONS, precisions, strict=True):
        operation.fp32_precision = precision


@pytest.fixture
def loose() -> Iterator[list[str]]:
    """The settings of a program that asked PyTorch for speed before precision, in force."""
    before = settings()
    set_to(LOOSE)
    yield LOOSE
    set_to(before)


def test_every_network_computes_in_full_precision_and_the_caller_keeps_its_own(
    engine: Engine, small: SimpleNamespace, loose: list[str]
) -> None:
    seen: dict[str, list[str]] = {}
    networks = engine._networks[torch.float32]
    hooks = [
        network.register_forward_hook(lambda *_, name=name: seen.update({name: settings()}))
        for name, network in {
            "encoder": engine._autoencoder.encoder,
            "decoder": engine._autoencoder.decoder,
            "transformer": networks.transformer,
            "text encoder": networks.text_encoder,
        }.items()
    ]
    picture = small.random_picture(64, 80, 77)
    request = ImageRequest(prompt="a pear that nobody drew yet", width=64, height=80, seed=77)
    for _ in engine.run(replace(request, references=(picture,), num_inference_steps=2)):
        assert settings() == loose
    for hook in hooks:
        hook.remove()
    assert seen == dict.fromkeys(("encoder", "decoder", "transformer", "text encoder"), FULL)
    assert settings() == loose


def test_a_run_that_is_given_up_or_fails_leaves_the_settings_alone(
    engine: Engine, loose: list[str]
) -> None:
    run = engine.run(ImageRequest(prompt="", width=64, height=64))
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert settings() == loose

    def fail() -> None:
        with full_precision():
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - it is this one
        fail()
    assert settings() == loose


def test_of_several_that_compute_at_once_the_last_one_puts_the_settings_back(
    loose: list[str],
) -> None:
    first, second = full_precision(), full_precision()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert settings() == FULL
    second.__exit__(None, None, None)
    assert settings() == loose


@pytest.mark.parametrize("allowed", [True, False])
def test_the_older_switches_of_pytorch_say_afterwards_what_they_said_before(allowed: bool) -> None:
    older: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in older]
    for switch in older:
        switch.allow_tf32 = allowed
    with full_precision():
        assert settings() == FULL
    assert [switch.allow_tf32 for switch in older] == [allowed, allowed]
    for switch, was in zip(older, before, strict=True):
        switch.allow_tf32 = was
